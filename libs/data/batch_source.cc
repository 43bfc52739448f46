#include "libs/data/batch_source.h"

#include <algorithm>
#include <filesystem>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "libs/core/check.h"
#include "libs/core/rng.h"
#include "libs/core/status.h"
#include "libs/data/batcher.h"
#include "libs/data/token_shards.h"

namespace attnlab {
namespace {

int64_t DivideRoundingUp(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Text: the shards that `prepare` wrote.
class TextSource : public BatchSource {
 public:
  TextSource(std::unique_ptr<TokenShards> train, std::unique_ptr<TokenShards> held_out,
             Batcher train_batcher, Batcher held_out_batcher, const DataOptions& options)
      : train_(std::move(train)),
        held_out_(std::move(held_out)),
        train_batcher_(std::move(train_batcher)),
        held_out_batcher_(std::move(held_out_batcher)),
        batch_(options.batch),
        held_out_sequences_(
            options.validation_sequences > 0
                ? std::min(options.validation_sequences, held_out_batcher_.windows())
                : held_out_batcher_.windows()),
        sequence_length_(options.sequence_length) {}

  static absl::StatusOr<std::unique_ptr<BatchSource>> Open(const DataOptions& options,
                                                           uint64_t seed);

  int32_t vocab_size() const override { return train_->info().vocab_size; }
  int32_t bos_id() const override { return train_->info().bos_id; }
  absl::StatusOr<TokenBatch> Train(int64_t step) override {
    return train_batcher_.Shuffled(step * batch_, batch_);
  }
  int64_t validation_batches() const override {
    return DivideRoundingUp(held_out_sequences_, batch_);
  }
  absl::StatusOr<TokenBatch> Validation(int64_t index) override {
    const int64_t first = index * batch_;
    return held_out_batcher_.Sequential(first, std::min(batch_, held_out_sequences_ - first));
  }
  double validation_bytes_per_token() const override {
    return static_cast<double>(held_out_->text_bytes()) / held_out_->tokens();
  }
  int64_t tokens_per_epoch() const override { return train_batcher_.windows() * sequence_length_; }
  std::string tokenizer_path() const override {
    const std::filesystem::path folder(train_->directory());
    return (folder / train_->info().tokenizer_path).lexically_normal().string();
  }
  std::string tokenizer_fingerprint() const override {
    return train_->info().tokenizer_fingerprint;
  }
  std::vector<InputFile> inputs() const override {
    std::vector<InputFile> files = train_->files();
    const std::vector<InputFile> held_out = held_out_->files();
    files.insert(files.end(), held_out.begin(), held_out.end());
    return files;
  }

 private:
  const std::unique_ptr<TokenShards> train_, held_out_;
  Batcher train_batcher_, held_out_batcher_;
  const int64_t batch_, held_out_sequences_, sequence_length_;
};

absl::StatusOr<std::unique_ptr<BatchSource>> TextSource::Open(const DataOptions& options,
                                                              uint64_t seed) {
  const std::filesystem::path source(options.source);
  const std::string held_out_folder =
      options.validation.empty() ? (source / "validation").string() : options.validation;
  ATTNLAB_ASSIGN_OR_RETURN(auto train,
                           TokenShards::Open((source / "train").string(), options.verify));
  ATTNLAB_ASSIGN_OR_RETURN(auto held_out, TokenShards::Open(held_out_folder, options.verify));
  if (train->info().tokenizer_fingerprint != held_out->info().tokenizer_fingerprint) {
    return absl::InvalidArgumentError(
        absl::StrCat(train->directory(), " and ", held_out->directory(),
                     " were tokenised with different tokenizers; prepare both with one"));
  }
  ATTNLAB_ASSIGN_OR_RETURN(
      Batcher train_batcher,
      Batcher::Create(*train, options.sequence_length, options.bos_every_sequence, seed));
  ATTNLAB_ASSIGN_OR_RETURN(
      Batcher held_out_batcher,
      Batcher::Create(*held_out, options.sequence_length, options.bos_every_sequence, seed));
  return std::make_unique<TextSource>(std::move(train), std::move(held_out),
                                      std::move(train_batcher), std::move(held_out_batcher),
                                      options);
}

// The Bigram-Backcopy task; sequence i of the training stream is drawn from (seed, i).
class BigramBackcopySource : public BatchSource {
 public:
  BigramBackcopySource(const DataOptions& options, uint64_t seed)
      : task_(options.bigram_backcopy),
        seed_(seed),
        sequence_length_(options.sequence_length),
        batch_(options.batch),
        held_out_sequences_(options.validation_sequences) {}

  static absl::StatusOr<std::unique_ptr<BatchSource>> Open(const DataOptions& options,
                                                           uint64_t seed) {
    ATTNLAB_RETURN_IF_ERROR(options.bigram_backcopy.Validate());
    if (options.validation_sequences < 1) {
      return absl::InvalidArgumentError(
          "validation_sequences must be at least 1 for a synthetic task, which has no end");
    }
    return std::make_unique<BigramBackcopySource>(options, seed);
  }

  int32_t vocab_size() const override { return task_.vocab_size(); }
  int32_t bos_id() const override { return task_.bos(); }
  std::vector<Role> roles() const override {
    const auto entropy = [&](BigramBackcopy::Role role) {
      return task_.Entropy(role, sequence_length_);
    };
    return {{"first", entropy(BigramBackcopy::kFirst)},
            {"bigram", entropy(BigramBackcopy::kBigram)},
            {"backcopy", entropy(BigramBackcopy::kBackcopy)}};
  }
  absl::StatusOr<TokenBatch> Train(int64_t step) override {
    return Draw("data.train", step * batch_, batch_);
  }
  int64_t validation_batches() const override {
    return DivideRoundingUp(held_out_sequences_, batch_);
  }
  absl::StatusOr<TokenBatch> Validation(int64_t index) override {
    ATTNLAB_CHECK(index >= 0 && index < validation_batches());
    const int64_t first = index * batch_;
    return Draw("data.validation", first, std::min(batch_, held_out_sequences_ - first));
  }

 private:
  TokenBatch Draw(absl::string_view stream, int64_t first, int64_t rows) const {
    TokenBatch batch{rows, sequence_length_ + 1, {}, {}};
    batch.tokens.resize(rows * batch.columns);
    batch.roles.resize(rows * sequence_length_);
    for (int64_t row = 0; row < rows; ++row) {
      Rng rng(seed_, stream, first + row);
      task_.Draw(rng, sequence_length_, batch.Row(row), &batch.roles[row * sequence_length_]);
    }
    return batch;
  }

  const BigramBackcopy task_;
  const uint64_t seed_;
  const int64_t sequence_length_, batch_, held_out_sequences_;
};

struct SyntheticTask {
  const char* name;
  absl::StatusOr<std::unique_ptr<BatchSource>> (*open)(const DataOptions&, uint64_t seed);
};
constexpr SyntheticTask kSyntheticTasks[] = {{"bigram_backcopy", &BigramBackcopySource::Open}};

}  // namespace

std::vector<std::string> SyntheticTasks() {
  std::vector<std::string> names;
  for (const SyntheticTask& task : kSyntheticTasks) names.push_back(task.name);
  return names;
}

absl::StatusOr<std::unique_ptr<BatchSource>> OpenBatchSource(const DataOptions& options,
                                                             uint64_t seed) {
  if (options.sequence_length < 1 || options.batch < 1 || options.validation_sequences < 0) {
    return absl::InvalidArgumentError(
        "sequence_length and batch must be at least 1, validation_sequences at least 0");
  }
  for (const SyntheticTask& task : kSyntheticTasks) {
    if (options.source == task.name) return task.open(options, seed);
  }
  std::error_code error;
  if (!std::filesystem::is_directory(options.source, error)) {
    return absl::NotFoundError(absl::StrCat("no folder ", options.source,
                                            " and no synthetic task of this name (",
                                            absl::StrJoin(SyntheticTasks(), ", "), ")"));
  }
  return TextSource::Open(options, seed);
}

}  // namespace attnlab
