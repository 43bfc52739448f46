#include "libs/text/sentencepiece_bridge.h"

#include <sentencepiece_processor.h>
#include <sentencepiece_trainer.h>

#include <unordered_map>

namespace attnlab {
namespace {

class Sentences : public sentencepiece::SentenceIterator {
 public:
  explicit Sentences(const std::function<bool(std::string&)>& next) : next_(next) { Next(); }
  bool done() const override { return done_; }
  void Next() override { done_ = !next_(value_); }
  const std::string& value() const override { return value_; }
  sentencepiece::util::Status status() const override { return {}; }

 private:
  const std::function<bool(std::string&)>& next_;
  std::string value_;
  bool done_ = false;
};

}  // namespace

struct SentencePieceModel::Impl {
  sentencepiece::SentencePieceProcessor processor;
};

SentencePieceModel::SentencePieceModel() : impl_(std::make_unique<Impl>()) {}
SentencePieceModel::~SentencePieceModel() = default;

std::string SentencePieceModel::Load(const std::string& serialized) {
  const auto status = impl_->processor.LoadFromSerializedProto(serialized);
  return status.ok() ? "" : status.ToString();
}

int32_t SentencePieceModel::size() const { return impl_->processor.GetPieceSize(); }
int32_t SentencePieceModel::bos_id() const { return impl_->processor.bos_id(); }
int32_t SentencePieceModel::eos_id() const { return impl_->processor.eos_id(); }
std::string SentencePieceModel::Piece(int32_t id) const { return impl_->processor.IdToPiece(id); }

SentencePieceModel::PieceType SentencePieceModel::Type(int32_t id) const {
  if (impl_->processor.IsUnknown(id)) return PieceType::kUnknown;
  if (impl_->processor.IsControl(id)) return PieceType::kControl;
  if (impl_->processor.IsByte(id)) return PieceType::kByte;
  return PieceType::kNormal;
}

float SentencePieceModel::Score(int32_t id) const { return impl_->processor.GetScore(id); }

void SentencePieceModel::Encode(std::string_view text, std::vector<int32_t>& ids) const {
  const std::vector<int> encoded = impl_->processor.EncodeAsIds(text);
  ids.insert(ids.end(), encoded.begin(), encoded.end());
}

std::string SentencePieceModel::Decode(const std::vector<int32_t>& ids) const {
  return impl_->processor.DecodeIds(ids);
}

std::string TrainSentencePieceModel(const std::map<std::string, std::string>& options,
                                    const std::function<bool(std::string&)>& next,
                                    std::string& model) {
  Sentences sentences(next);
  const std::unordered_map<std::string, std::string> arguments(options.begin(), options.end());
  const auto status = sentencepiece::SentencePieceTrainer::Train(arguments, &sentences, &model);
  return status.ok() ? "" : status.ToString();
}

}  // namespace attnlab
