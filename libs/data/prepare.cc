#include "libs/data/prepare.h"

#include <algorithm>
#include <filesystem>
#include <memory>
#include <system_error>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "libs/core/files.h"
#include "libs/core/log.h"
#include "libs/core/progress.h"
#include "libs/core/rng.h"
#include "libs/core/status.h"
#include "libs/data/documents.h"
#include "libs/data/ordered_pool.h"
#include "libs/data/prepare_record.h"
#include "libs/data/spool.h"
#include "libs/data/token_shards.h"
#include "libs/data/vocabulary.h"
#include "libs/text/tokenizer.h"

namespace attnlab {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kBatchBytes = int64_t{1} << 20;  // of documents that a thread takes at once

// Documents of one file, and their ids one behind the other.
struct RawBatch {
  TextFile file;
  std::vector<RawDocument> documents;
};
struct EncodedBatch {
  absl::Status status;
  std::vector<int32_t> ids;
  std::vector<DocumentSpan> documents;
};

// One run of `prepare`; each method is a step of Run.
class Preparation {
 public:
  Preparation(const PrepareOptions& options, std::string folder)
      : options_(options),
        folder_(std::move(folder)),
        policy_(options.invalid_utf8 == "replace" ? InvalidUtf8::kReplace : InvalidUtf8::kError) {}

  absl::StatusOr<PrepareReport> Run() {
    ATTNLAB_RETURN_IF_ERROR(ListInputs());
    ATTNLAB_RETURN_IF_ERROR(MakeVocabulary());
    ATTNLAB_ASSIGN_OR_RETURN(spool_, Spool::Create((folder_ / "spool.bin").string()));
    ATTNLAB_RETURN_IF_ERROR(Tokenise());
    ATTNLAB_RETURN_IF_ERROR(DrawOrder());
    ATTNLAB_ASSIGN_OR_RETURN(report_.train, WriteSplit("train", /*held_out=*/false));
    const bool any_held_out = std::any_of(documents_.begin(), documents_.end(),
                                          [](const DocumentSpan& d) { return d.held_out; });
    if (any_held_out) {
      ATTNLAB_ASSIGN_OR_RETURN(report_.validation, WriteSplit("validation", /*held_out=*/true));
    }
    spool_.reset();
    ATTNLAB_RETURN_IF_ERROR(WriteFileAtomically((folder_ / "prepare.json").string(),
                                                PrepareRecord(options_, inputs_, report_)));
    return report_;
  }

 private:
  absl::Status ListInputs();
  absl::Status MakeVocabulary();
  absl::Status Tokenise();
  absl::Status ReadFile(PreparedInput& input, OrderedPool<RawBatch, EncodedBatch>& pool,
                        Progress& progress, int64_t bytes_before);
  EncodedBatch Encode(RawBatch batch) const;
  absl::Status Keep(EncodedBatch batch, bool held_out);
  absl::Status DrawOrder();
  absl::StatusOr<PrepareReport::Split> WriteSplit(const char* name, bool held_out);

  const PrepareOptions& options_;
  const fs::path folder_;
  const InvalidUtf8 policy_;
  std::vector<PreparedInput> inputs_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::unique_ptr<Spool> spool_;
  std::vector<DocumentSpan> documents_;
  int64_t text_bytes_ = 0;
  PrepareReport report_;
};

absl::Status Preparation::ListInputs() {
  for (const bool held_out : {false, true}) {
    ATTNLAB_ASSIGN_OR_RETURN(const auto files,
                             ListTextFiles(held_out ? options_.validation : options_.inputs));
    for (const TextFile& file : files) inputs_.push_back({file, "", held_out});
  }
  return absl::OkStatus();
}

absl::Status Preparation::MakeVocabulary() {
  if (!options_.tokenizer.empty()) {
    ATTNLAB_ASSIGN_OR_RETURN(tokenizer_, LoadTokenizer(options_.tokenizer));
  } else {
    const Progress clock("vocabulary", 0, "");
    std::vector<TextFile> files;
    for (const PreparedInput& input : inputs_) {
      if (!input.held_out) files.push_back(input.file);
    }
    ATTNLAB_ASSIGN_OR_RETURN(
        std::string model,
        TrainVocabulary(files, {options_.vocab_size, options_.vocab_sample_mb << 20,
                                static_cast<uint64_t>(options_.seed), options_.field, policy_}));
    ATTNLAB_ASSIGN_OR_RETURN(tokenizer_, MakeTokenizer({{"tokenizer.model", std::move(model)}}));
    report_.train_vocabulary_seconds = clock.seconds();
  }
  report_.vocab_size = tokenizer_->vocab_size();
  if ((options_.bos && tokenizer_->bos_id() < 0) ||
      (!options_.no_eos && tokenizer_->eos_id() < 0)) {
    return absl::InvalidArgumentError(
        "the tokenizer has no BOS or no EOS token; leave --bos away and give --no-eos");
  }
  return SaveTokenizer(*tokenizer_, (folder_ / "tokenizer").string());
}

absl::Status Preparation::Tokenise() {
  int64_t total = 0, done = 0;
  for (const PreparedInput& input : inputs_) total += input.file.bytes;
  const int threads = options_.threads > 0
                          ? static_cast<int>(options_.threads)
                          : std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  Progress progress("tokenise", total, "bytes");
  bool held_out = false;
  OrderedPool<RawBatch, EncodedBatch> pool(
      threads, [this](RawBatch batch) { return Encode(std::move(batch)); },
      [&](EncodedBatch batch) { return Keep(std::move(batch), held_out); });
  for (PreparedInput& input : inputs_) {
    if (input.held_out != held_out) {
      ATTNLAB_RETURN_IF_ERROR(pool.Finish());
      held_out = input.held_out;
    }
    ATTNLAB_RETURN_IF_ERROR(ReadFile(input, pool, progress, done));
    done += input.file.bytes;
  }
  return pool.Finish();
}

// Gives the documents of one file to the pool.
absl::Status Preparation::ReadFile(PreparedInput& input, OrderedPool<RawBatch, EncodedBatch>& pool,
                                   Progress& progress, int64_t bytes_before) {
  ATTNLAB_ASSIGN_OR_RETURN(const auto reader, DocumentReader::Open(input.file));
  RawBatch batch{input.file, {}};
  int64_t bytes = 0;
  for (bool more = true; more;) {
    RawDocument document;
    ATTNLAB_ASSIGN_OR_RETURN(more, reader->Next(document));
    if (more) {
      bytes += static_cast<int64_t>(document.raw.size());
      batch.documents.push_back(std::move(document));
    }
    if (bytes < kBatchBytes && more) continue;
    ATTNLAB_RETURN_IF_ERROR(pool.Push(std::exchange(batch, RawBatch{input.file, {}})));
    bytes = 0;
    progress.Update(bytes_before + reader->bytes_on_disk(),
                    absl::StrFormat("%s tokens, %.1f MB of text/s",
                                    FormatCount(static_cast<double>(spool_->tokens())),
                                    1e-6 * static_cast<double>(text_bytes_) / progress.seconds()));
  }
  input.sha256 = reader->Sha256Hex();
  return absl::OkStatus();
}

EncodedBatch Preparation::Encode(RawBatch batch) const {
  EncodedBatch out;
  for (RawDocument& document : batch.documents) {
    auto text = DocumentText(std::move(document), batch.file, options_.field, policy_);
    if (!text.ok()) {
      out.status = text.status();
      return out;
    }
    if (text->empty()) continue;
    DocumentSpan span{static_cast<int64_t>(out.ids.size()), 0, static_cast<int64_t>(text->size())};
    if (options_.bos) out.ids.push_back(tokenizer_->bos_id());
    tokenizer_->Encode(*text, out.ids);
    if (!options_.no_eos) out.ids.push_back(tokenizer_->eos_id());
    span.tokens = static_cast<int64_t>(out.ids.size()) - span.first;
    out.documents.push_back(span);
  }
  return out;
}

absl::Status Preparation::Keep(EncodedBatch batch, bool held_out) {
  ATTNLAB_RETURN_IF_ERROR(batch.status);
  for (DocumentSpan document : batch.documents) {
    document.first += spool_->tokens();
    document.held_out = held_out;
    text_bytes_ += document.text_bytes;
    documents_.push_back(document);
  }
  return spool_->Append(batch.ids);
}

// Shuffles the documents and, when no held-out files were given, holds out a share of them.
absl::Status Preparation::DrawOrder() {
  if (documents_.empty()) return absl::InvalidArgumentError("the inputs hold no documents");
  Rng(options_.seed, "prepare.order").Shuffle(documents_);
  if (options_.validation.empty() && options_.validation_share > 0) {
    const auto count = static_cast<int64_t>(documents_.size());
    const int64_t held_out = std::max<int64_t>(
        1, static_cast<int64_t>(options_.validation_share * static_cast<double>(count)));
    if (held_out >= count) {
      return absl::InvalidArgumentError(
          absl::StrCat("the inputs hold ", count, " documents, too few to hold out ", held_out,
                       "; give held-out files with --validation, or --validation-share 0"));
    }
    for (int64_t i = 0; i < held_out; ++i) documents_[i].held_out = true;
  }
  return spool_->Map();
}

absl::StatusOr<PrepareReport::Split> Preparation::WriteSplit(const char* name, bool held_out) {
  const TokenShardsInfo info{tokenizer_->vocab_size(), tokenizer_->bos_id(), tokenizer_->eos_id(),
                             "../tokenizer", tokenizer_->fingerprint()};
  ATTNLAB_ASSIGN_OR_RETURN(
      const auto writer,
      TokenShardWriter::Create((folder_ / name).string(), info, options_.shard_tokens));
  for (const DocumentSpan& document : documents_) {
    if (document.held_out != held_out) continue;
    ATTNLAB_RETURN_IF_ERROR(writer->AddDocument(spool_->Ids(document), document.text_bytes));
  }
  ATTNLAB_RETURN_IF_ERROR(writer->Finish());
  return PrepareReport::Split{writer->documents(), writer->tokens(), writer->text_bytes()};
}

absl::Status CheckOptions(const PrepareOptions& options) {
  const auto bad = [](absl::string_view what) { return absl::InvalidArgumentError(what); };
  if (options.inputs.empty()) return bad("no input files");
  if (options.out.empty()) return bad("no output folder");
  if (options.invalid_utf8 != "error" && options.invalid_utf8 != "replace")
    return bad("invalid_utf8 must be error or replace");
  if (!(options.validation_share >= 0 && options.validation_share < 1))
    return bad("validation_share must be in [0, 1)");
  if (options.vocab_size < 300 || options.vocab_size > 1 << 20)
    return bad("vocab_size must be in [300, 1048576]");
  if (options.vocab_sample_mb < 1 || options.vocab_sample_mb > 4096)
    return bad("vocab_sample_mb must be in [1, 4096]");
  if (options.shard_tokens < 1) return bad("shard_tokens must be at least 1");
  if (options.threads < 0 || options.threads > 1024) return bad("threads must be in [0, 1024]");
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<PrepareReport> Prepare(const PrepareOptions& options) {
  ATTNLAB_RETURN_IF_ERROR(CheckOptions(options));
  const fs::path out = fs::path(options.out).lexically_normal();
  std::error_code error;
  if (fs::exists(out, error)) {
    return absl::AlreadyExistsError(absl::StrCat(
        options.out, " is there already; give another --out, or remove it to prepare anew"));
  }
  const std::string folder = absl::StrCat(options.out, ".tmp");
  if (fs::exists(folder, error)) {
    LogWarning(absl::StrCat("removing ", folder, ", which an earlier run left unfinished"));
    fs::remove_all(folder, error);
  }
  fs::create_directories(folder, error);
  if (error) return ErrnoStatus(error.value(), "create folder", folder);
  const Progress clock("prepare", 0, "");
  auto report = Preparation(options, folder).Run();
  absl::Status status = report.status();
  if (status.ok()) status = RenameDurably(folder, options.out);
  if (!status.ok()) {
    fs::remove_all(folder, error);
    return status;
  }
  report->seconds = clock.seconds();
  return report;
}

}  // namespace attnlab
