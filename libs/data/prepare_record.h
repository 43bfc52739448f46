// prepare.json: how a folder of token shards came about.
#pragma once

#include <string>
#include <vector>

#include "libs/data/documents.h"
#include "libs/data/prepare.h"

namespace attnlab {

struct PreparedInput {
  TextFile file;
  std::string sha256;  // of the file as it stands on disk
  bool held_out = false;
};

// The options, the inputs and the counts, as JSON.
std::string PrepareRecord(const PrepareOptions& options, const std::vector<PreparedInput>& inputs,
                          const PrepareReport& report);

}  // namespace attnlab
