#include "apps/bench/measurement.h"

#include <cmath>
#include <type_traits>

#include "absl/strings/str_format.h"

namespace attnlab {
namespace {

std::string Times(double value) {
  return std::isnan(value) ? std::string(7, ' ') : absl::StrFormat(" %5.2fx", value);
}

std::string Share(double value) {
  return std::isnan(value) ? std::string(7, ' ') : absl::StrFormat(" %5.1f%%", 100 * value);
}

std::string Number(double value, const char* unit) {
  return std::isnan(value) ? "" : absl::StrFormat("  %.3g%s", value, unit);
}

}  // namespace

double ForwardFlops(const Shape& shape, const Mask& mask) {
  double pairs = static_cast<double>(shape.queries) * static_cast<double>(shape.keys);
  if (mask.window > 0) {
    pairs = 0;
    for (int64_t i = 0; i < shape.queries; ++i) {
      pairs += static_cast<double>(mask.CountVisible(i, shape.keys));
    }
  } else if (mask.causal) {
    pairs /= 2;
  }
  return 2.0 * static_cast<double>(shape.batch * shape.heads) * pairs *
         static_cast<double>(shape.head_dim + shape.value_dim);
}

double CacheBytes(const Shape& shape, int64_t element_bytes) {
  return static_cast<double>(shape.batch * shape.kv_heads * shape.keys * element_bytes *
                             (shape.head_dim + shape.value_dim));
}

void SetPeer(Measurement& row, const std::string& peer, double seconds) {
  double& ratio = peer == "flash" ? row.flash : peer == "cudnn" ? row.cudnn : row.efficient;
  ratio = seconds / row.seconds;
}

std::vector<Column> ColumnsOf(BenchKind kind, std::vector<Measurement> rows) {
  std::vector<Column> columns;
  for (size_t i = 0; i < rows.size(); ++i) {
    size_t place = 0;
    rows[i].ForEach(kind, [&](const char* name, auto& field, const char* unit) {
      if (i == 0) columns.push_back({name, unit, {}, {}});
      Column& column = columns[place++];
      if constexpr (std::is_same_v<decltype(field), std::string&>) {
        column.texts.push_back(field);
      } else {
        column.numbers.push_back(static_cast<double>(field));
      }
    });
  }
  return columns;
}

std::string HeaderLine(BenchKind kind) {
  const bool decode = kind == BenchKind::kDecode;
  return absl::StrFormat("%-18s%-10s%-9s%4s%7s%4s%4s%4s %-7s%-9s%9s%6s %8s %7s%7s%7s%7s%7s%7s",
                         "variant", "kernel", "dtype", "d", "T", "B", "H", "Hkv", "mask", "pass",
                         "ms", "+-", decode ? "GB/s" : "TFLOP/s", "/flash", "/cudnn", "/effic",
                         decode ? "/copy" : "/matmul", "skipped", "gain");
}

std::string LineOf(const Measurement& row) {
  return absl::StrFormat(
      "%-18s%-10s%-9s%4d%7d%4d%4d%4d %-7s%-9s%9.4f%5.1f%% %8.1f %s%s%s%s%s%s%s%s%s", row.variant,
      row.kernel, row.dtype, row.dim, row.tokens, row.batch, row.heads, row.kv_heads, row.mask,
      row.pass, row.seconds * 1e3, row.spread * 100, row.rate, Times(row.flash), Times(row.cudnn),
      Times(row.efficient), Share(row.of_device), Share(row.skipped), Times(row.skip_gain),
      Number(row.error, " error"), Number(row.error_ratio, "x LibTorch's"),
      Number(row.sm_clock, " MHz"));
}

}  // namespace attnlab
