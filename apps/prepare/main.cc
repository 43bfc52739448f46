// prepare INPUT... --out DIR: text files to token shards.

#include <cstdio>
#include <string>
#include <type_traits>
#include <vector>

#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "apps/cli.h"
#include "libs/core/progress.h"
#include "libs/core/status.h"
#include "libs/data/prepare.h"

namespace attnlab {
namespace {

// Declares --validation-share for the field validation_share.
class DeclareOptions {
 public:
  explicit DeclareOptions(Cli& cli) : cli_(cli) {}
  template <class T>
  void operator()(const char* name, T& value, const char* help) {
    const std::string flag = absl::StrReplaceAll(name, {{"_", "-"}});
    if constexpr (std::is_same_v<T, bool>) {
      cli_.Flag(flag, value, help);
    } else if constexpr (std::is_same_v<T, std::vector<std::string>>) {
      cli_.Repeated(flag, value, help);
    } else {
      cli_.Option(flag, value, help);
    }
  }

 private:
  Cli& cli_;
};

void PrintSplit(const char* name, const PrepareReport::Split& split) {
  const auto tokens = static_cast<double>(split.tokens);
  absl::PrintF("%-12s%12d%14d%16d%14.3f\n", name, split.documents, split.tokens, split.text_bytes,
               split.tokens > 0 ? static_cast<double>(split.text_bytes) / tokens : 0);
}

absl::Status Run(const PrepareOptions& options) {
  ATTNLAB_ASSIGN_OR_RETURN(const PrepareReport report, Prepare(options));
  absl::PrintF("%-12s%12s%14s%16s%14s\n", "", "documents", "tokens", "bytes of text",
               "bytes/token");
  PrintSplit("train", report.train);
  PrintSplit("validation", report.validation);
  const double megabytes =
      1e-6 * static_cast<double>(report.train.text_bytes + report.validation.text_bytes);
  absl::PrintF("vocabulary %d; %s, %.1f MB of text/s", report.vocab_size,
               FormatDuration(report.seconds), megabytes / report.seconds);
  if (report.train_vocabulary_seconds > 0) {
    absl::PrintF(" (%s of it to train the vocabulary)",
                 FormatDuration(report.train_vocabulary_seconds));
  }
  absl::PrintF("\n%s\n", options.out);
  return absl::OkStatus();
}

}  // namespace
}  // namespace attnlab

int main(int argc, char** argv) {
  attnlab::PrepareOptions options;
  attnlab::Cli cli("prepare", "Text files to token shards that `train` reads.",
                   {"prepare books.jsonl.zst --out data/books --vocab-size 16384",
                    "prepare corpus/ --validation held-out.txt --tokenizer gpt2/ --out data/gpt2",
                    "prepare notes.txt --tokenizer bytes --validation-share 0 --out data/notes"});
  cli.Positionals("INPUT", options.inputs,
                  "files or folders: .txt, .jsonl, each also with .gz or .zst");
  cli.Option("out", options.out, "the folder to write");
  options.ForEach(attnlab::DeclareOptions(cli));
  return cli.Run(argc, argv, [&] { return attnlab::Run(options); });
}
