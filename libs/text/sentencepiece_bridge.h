// libsentencepiece behind a few functions. Its headers put std::string_view into namespace absl, so
// no file that includes Abseil may include them: this header and its .cc use the standard library
// alone. Errors are returned as text; empty means done.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace attnlab {

class SentencePieceModel {
 public:
  enum class PieceType { kNormal, kUnknown, kControl, kByte };

  SentencePieceModel();
  ~SentencePieceModel();
  std::string Load(const std::string& serialized);

  int32_t size() const;
  int32_t bos_id() const;  // -1: none
  int32_t eos_id() const;
  std::string Piece(int32_t id) const;
  PieceType Type(int32_t id) const;
  float Score(int32_t id) const;

  void Encode(std::string_view text, std::vector<int32_t>& ids) const;  // appends
  std::string Decode(const std::vector<int32_t>& ids) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Trains a model with the trainer's own options ("vocab_size" -> "8000"). `next` gives the next
// sentence, or false at the end. The serialized model goes to `model`.
std::string TrainSentencePieceModel(const std::map<std::string, std::string>& options,
                                    const std::function<bool(std::string&)>& next,
                                    std::string& model);

}  // namespace attnlab
