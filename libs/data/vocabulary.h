// Trains a SentencePiece vocabulary on a sample of text files.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "libs/data/documents.h"

namespace attnlab {

struct VocabularyOptions {
  int64_t size = 16384;
  int64_t sample_bytes = int64_t{32} << 20;
  uint64_t seed = 0;
  std::string field = "text";
  InvalidUtf8 invalid_utf8 = InvalidUtf8::kError;
};

// The serialized model. The sample is drawn line by line, uniformly over all files in one pass; it
// depends on the files and the seed alone.
absl::StatusOr<std::string> TrainVocabulary(const std::vector<TextFile>& files,
                                            const VocabularyOptions& options);

}  // namespace attnlab
