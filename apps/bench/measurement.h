// What the bench measures: one timed pass of one kernel on one problem, a row of the tables
// `attention` and `decode` of results.h5.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "kernels/attention.h"
#include "libs/io/results.h"

namespace attnlab {

inline constexpr double kNotMeasured = std::numeric_limits<double>::quiet_NaN();

enum class BenchKind { kAttention, kDecode };

// Floating-point operations of a forward: two products of a multiplication and an addition for each
// pair of a query and a key, 4 B H T S d where d is both dims. A causal mask halves them; under a
// window the pairs are counted.
double ForwardFlops(const Shape& shape, const Mask& mask);
// Five products where the forward has two.
inline double BackwardFlops(const Shape& shape, const Mask& mask) {
  return 2.5 * ForwardFlops(shape, mask);
}

// Bytes of keys and values that a decode step reads, each once.
double CacheBytes(const Shape& shape, int64_t element_bytes);

struct Measurement {
  std::string variant, kernel;  // kernel: "hopper", ...; a peer's own row: "flash", "cudnn", ...
  std::string dtype, mask;      // "causal" or "full"
  std::string pass;             // "forward", "backward" or "decode"
  std::string inputs;           // "random", "dead 0.5", "layer 3 of FOLDER"
  int64_t dim = 0, tokens = 0, batch = 0, heads = 0, kv_heads = 0;  // tokens: keys of a sequence
  double seconds = kNotMeasured;                                    // median
  double spread = kNotMeasured;  // third quartile - first, of the median
  double rate = kNotMeasured;    // TFLOP/s, or GB/s of keys and values
  // How many times as fast as each peer: its seconds / ours.
  double flash = kNotMeasured, cudnn = kNotMeasured, efficient = kNotMeasured;
  double of_device = kNotMeasured;    // of the measured matrix-product rate, or copy bandwidth
  double skipped = kNotMeasured;      // share of the tiles, of the values in decode
  double skip_gain = kNotMeasured;    // seconds without skipping / seconds
  double error = kNotMeasured;        // largest, against float64, on the problem of the check
  double error_ratio = kNotMeasured;  // to the error of LibTorch in the same dtype; the bar is 2
  double sm_clock = kNotMeasured, memory_clock = kNotMeasured;  // right after timing

  // visit(name, field, unit) for each column of the table, in its order.
  template <class Visitor>
  void ForEach(BenchKind kind, Visitor&& visit) {
    const bool decode = kind == BenchKind::kDecode;
    visit("variant", variant, "");
    visit("kernel", kernel, "");
    visit("dtype", dtype, "");
    visit("mask", mask, "");
    visit("pass", pass, "");
    visit("inputs", inputs, "");
    visit("dim", dim, "");
    visit("T", tokens, "");
    visit("B", batch, "");
    visit("H", heads, "");
    visit("Hkv", kv_heads, "");
    visit("seconds", seconds, "s");
    visit("spread", spread, "of the median");
    visit("rate", rate, decode ? "GB/s" : "TFLOP/s");
    visit("flash", flash, "times as fast");
    visit("cudnn", cudnn, "times as fast");
    visit("efficient", efficient, "times as fast");
    visit("of_device", of_device, decode ? "of copy bandwidth" : "of matrix-product rate");
    visit("skipped", skipped, decode ? "of values" : "of tiles");
    visit("skip_gain", skip_gain, "times as fast");
    visit("error", error, "");
    visit("error_ratio", error_ratio, "of LibTorch's in the same dtype");
    visit("sm_clock", sm_clock, "MHz");
    visit("memory_clock", memory_clock, "MHz");
  }
};

// How many times as fast `row` is as `peer` ("flash", ...), which took `seconds`.
void SetPeer(Measurement& row, const std::string& peer, double seconds);

// The table of `rows`.
std::vector<Column> ColumnsOf(BenchKind kind, std::vector<Measurement> rows);

// A header and one line a measurement, aligned with each other, for a terminal. A ratio that was
// not measured is blank.
std::string HeaderLine(BenchKind kind);
std::string LineOf(const Measurement& row);

}  // namespace attnlab
