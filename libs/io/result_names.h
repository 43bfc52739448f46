// Names under which programs record what the report looks for. Anything else is shown by its own
// name and label; anything absent is left out. Shares and rates are fractions of 1.
#pragma once

namespace attnlab::names {

// Series, by optimizer step.
inline constexpr char kTrainLoss[] = "train_loss";            // nats per token
inline constexpr char kValidationLoss[] = "validation_loss";  // nats per token
inline constexpr char kBackcopyLoss[] = "backcopy_loss";      // held out, synthetic task
inline constexpr char kBigramLoss[] = "bigram_loss";          // held out, synthetic task
inline constexpr char kLearningRate[] = "learning_rate";
inline constexpr char kGradientNorm[] = "gradient_norm";  // before clipping
inline constexpr char kTokensPerSecond[] = "tokens_per_second";

// Metrics: one number a run. Conventions that differ in a constant or in T append it:
// "sink_rate_0.3_T64".
inline constexpr char kFinalLoss[] = "validation_loss";
inline constexpr char kPerplexity[] = "perplexity";
inline constexpr char kBitsPerByte[] = "bits_per_byte";
inline constexpr char kSinkRate[] = "sink_rate";               // + "_EPS" + "_T..."
inline constexpr char kFirstKeyMass[] = "first_key_mass";      // mean attention on key 0
inline constexpr char kFirstKeyArgmax[] = "first_key_argmax";  // queries that look at key 0 most
inline constexpr char kBosAttention[] = "bos_attention";       // strongest head, non-triggers
inline constexpr char kBosValueNorm[] = "bos_value_norm";      // of that head, over the mean
inline constexpr char kKurtosis[] = "kurtosis";                // + "_pooled", "_bondarenko", ...
inline constexpr char kActivationMin[] = "activation_min";
inline constexpr char kActivationMax[] = "activation_max";
inline constexpr char kZeroShare[] = "zero_share";           // exact zeros of the triangle
inline constexpr char kNearZeroShare[] = "near_zero_share";  // |a| <= 1e-5
inline constexpr char kDeadHeads[] = "dead_heads";           // + "_EPS": share of all heads

// Head metrics [layers, heads].
inline constexpr char kHeadSinkRate[] = "sink_rate";  // + "_EPS" + "_T..."
inline constexpr char kHeadFirstKeyMass[] = "first_key_mass";
inline constexpr char kHeadBosAttention[] = "bos_attention";   // at non-trigger queries
inline constexpr char kHeadBosValueNorm[] = "bos_value_norm";  // |v_0| / mean |v|
inline constexpr char kHeadOffShare[] = "off_share";           // tokens without output, + "_EPS"
inline constexpr char kHeadZeroShare[] = "zero_share";

// Layer profiles and boxes; index 0 is the embedding, the last one follows the final norm.
inline constexpr char kMaxAbsHidden[] = "max_abs_hidden";
inline constexpr char kHiddenBoxes[] = "hidden";

// Tables: the rows of a sweep of compression methods, and the matrices of one compressed model.
inline constexpr char kSweepTable[] = "sweep";
inline constexpr char kSweepBaseline[] = "none";  // in "method": the model as it was trained
// + "TASK METRIC": the documents of a score that is their mean; a column a row of the sweep, named
// by its number.
inline constexpr char kSweepExamples[] = "examples ";
inline constexpr char kMatrixTable[] = "matrices";

// Of the bench: tables with a row a timed pass, and what the device reaches otherwise.
inline constexpr char kAttentionTable[] = "attention";
inline constexpr char kDecodeTable[] = "decode";
inline constexpr char kMatrixProductRate[] = "matrix_product_rate";  // metric, TFLOP/s
inline constexpr char kCopyBandwidth[] = "copy_bandwidth";           // metric, GB/s

}  // namespace attnlab::names
