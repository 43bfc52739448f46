// The requests of lm-evaluation-harness (Gao et al., github.com/EleutherAI/lm-evaluation-harness):
// the log-likelihood of a continuation after a context, and of whole documents in rolling windows;
// how text becomes tokens in them, in both generations of its rule about BOS.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "libs/model/transformer.h"
#include "libs/text/tokenizer.h"

namespace attnlab {

// Until 0.4.9.1 the harness encoded text without BOS; since 0.4.9.2 it does what the tokenizer does
// by default, which for SentencePiece models of the Llama family is to put a BOS in front.
inline constexpr char kHarnessPlain[] = "0.4.9.1";
inline constexpr char kHarnessTokenizerDefault[] = "0.4.9.2";

// InvalidArgument with the accepted names when `version` is neither.
absl::Status ValidateHarness(const std::string& version);

// Text to tokens as one release of the harness does it.
class HarnessEncoder {
 public:
  // `version` is valid. The tokenizer must outlive the encoder.
  HarnessEncoder(const Tokenizer& tokenizer, const std::string& version);

  std::vector<int32_t> Encode(absl::string_view text) const;
  // BOS, or EOS where there is none, or -1: what the first token of a document is scored after.
  int32_t prefix() const { return prefix_; }
  // Encode puts a BOS in front.
  bool adds_bos() const { return adds_bos_; }

  // Tokens of context and continuation. Whitespace at the end of the context moves to the
  // continuation; both are encoded together and cut after as many tokens as the context has alone.
  // An empty context becomes the prefix token.
  std::pair<std::vector<int32_t>, std::vector<int32_t>> EncodePair(
      absl::string_view context, absl::string_view continuation) const;

 private:
  const Tokenizer& tokenizer_;
  const bool adds_bos_;
  const int32_t prefix_;
};

// Score `continuation` after `context`.
struct ScoreRequest {
  std::vector<int32_t> context, continuation;
  bool want_greedy = false;
};

struct Score {
  double log_likelihood = 0;  // nats, sum over the continuation
  bool greedy = false;        // each token was the most likely one; where want_greedy
};

// A document as requests that score each token once: windows of at most `max_length` inputs, the
// first after `prefix`, the later ones after one token of context, the last after as much as fits.
std::vector<ScoreRequest> RollingRequests(const std::vector<int32_t>& tokens, int32_t prefix,
                                          int64_t max_length);

struct ScoreOptions {
  int64_t max_length = 0;        // inputs of a pass; longer requests lose their beginning
  int64_t batch_tokens = 16384;  // of a pass, padding included
  ForwardOptions forward;
  std::string name = "requests";  // in the progress line
};

// The scores of `requests`, in their order. InvalidArgument when a context or a continuation is
// empty or a token is not in the model's vocabulary; Internal when the model answers NaN.
absl::StatusOr<std::vector<Score>> ScoreRequests(const Transformer& model,
                                                 const std::vector<ScoreRequest>& requests,
                                                 const ScoreOptions& options);

}  // namespace attnlab
