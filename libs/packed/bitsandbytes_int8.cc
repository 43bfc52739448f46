// LLM.int8(): quantization, and the product that keeps outlier columns of the input as they are.

#include <ATen/TensorOperators.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>

#include <utility>

#include "libs/core/check.h"
#include "libs/core/status.h"
#include "libs/packed/bitsandbytes_format.h"
#include "libs/packed/int_product.h"

namespace attnlab {
namespace {

// 1/127 and 1/127^2 as bitsandbytes has them; the second is 2e-5 too large.
constexpr double kStep = 7.874015718698502e-3;
constexpr double kStepSquared = 6.200124e-05;

// x [n, k] as codes in -127..127 of absmax [n] each row; a row of zeros has codes 0.
at::Tensor RowCodes(const at::Tensor& x, const at::Tensor& absmax) {
  const at::Tensor top = absmax.unsqueeze(1);
  const at::Tensor scaled =
      at::where(top > 0, x.to(at::kFloat) * (top.reciprocal() * 127.0), at::Scalar(0.0));
  return scaled.round().to(at::kChar);
}

at::Tensor RowMagnitudes(const at::Tensor& x) { return x.abs().amax(1).to(at::kFloat); }

class LlmInt8Matrix : public StoredMatrix {
 public:
  LlmInt8Matrix(at::Tensor codes, at::Tensor absmax, double threshold)
      : StoredMatrix(codes.size(0), codes.size(1)),
        codes_(std::move(codes)),
        absmax_(std::move(absmax)),
        threshold_(threshold) {}

  at::Tensor Dense(at::ScalarType dtype) const override { return Numbers(codes_).to(dtype); }

  at::Tensor Product(const at::Tensor& x) const override {
    const at::Tensor tokens = x.detach().reshape({-1, cols()});
    at::Tensor rounded = tokens.to(at::kHalf);
    at::Tensor columns;  // those that hold an outlier
    if (threshold_ > 0) {
      const at::Tensor outlier = rounded.abs() >= threshold_;
      columns = outlier.any(0).nonzero().flatten();
      rounded = rounded.masked_fill(outlier, 0);
    }
    const at::Tensor magnitudes = RowMagnitudes(rounded);
    at::Tensor codes = RowCodes(rounded, magnitudes);
    if (columns.defined()) codes.index_fill_(1, columns, 0);
    const at::Tensor scale = magnitudes.unsqueeze(1) * absmax_.unsqueeze(0);
    at::Tensor out = (IntegerProduct(codes, codes_) * scale * kStepSquared).to(x.scalar_type());
    if (columns.defined() && columns.numel() > 0) {
      const at::Tensor weight = Numbers(codes_.index_select(1, columns)).to(x.scalar_type());
      out = at::addmm(out, tokens.index_select(1, columns), weight.t());
    }
    std::vector<int64_t> shape = x.sizes().vec();
    shape.back() = rows();
    return out.view(shape);
  }

  SuffixedTensors Tensors() const override {
    // weight_format 0: rows as they are.
    return {{"weight", codes_}, {"SCB", absmax_}, {"weight_format", at::zeros({}, at::kByte)}};
  }

  std::shared_ptr<const StoredMatrix> To(at::Device device) const override {
    return std::make_shared<LlmInt8Matrix>(codes_.to(device), absmax_.to(device), threshold_);
  }

 private:
  at::Tensor Numbers(const at::Tensor& codes) const { return codes * absmax_.unsqueeze(1) * kStep; }

  const at::Tensor codes_;   // [rows, cols] int8
  const at::Tensor absmax_;  // [rows] float32
  const double threshold_;
};

}  // namespace

std::shared_ptr<const StoredMatrix> QuantizeLlmInt8(const at::Tensor& weight, double threshold) {
  ATTNLAB_CHECK(weight.dim() == 2);
  const at::Tensor half = weight.detach().to(at::kHalf);
  const at::Tensor absmax = RowMagnitudes(half);
  return std::make_shared<LlmInt8Matrix>(RowCodes(half, absmax), absmax, threshold);
}

absl::StatusOr<std::shared_ptr<const StoredMatrix>> ReadLlmInt8(MatrixTensors& tensors,
                                                                int64_t rows, int64_t cols,
                                                                double threshold) {
  ATTNLAB_ASSIGN_OR_RETURN(at::Tensor codes, tensors.Take("weight", at::kChar, {rows, cols}));
  ATTNLAB_ASSIGN_OR_RETURN(at::Tensor absmax, tensors.Take("SCB", at::kFloat, {rows}));
  if (!absmax.isfinite().all().item<bool>()) {
    return tensors.Error("SCB", "has a number that is not finite");
  }
  if (tensors.Has("weight_format")) {
    ATTNLAB_ASSIGN_OR_RETURN(const at::Tensor format, tensors.Take("weight_format", at::kByte, {}));
    if (format.item<uint8_t>() != 0) {
      return tensors.Error("weight_format", "is not 0: only weights stored by row can be read");
    }
  }
  return std::make_shared<LlmInt8Matrix>(std::move(codes), std::move(absmax), threshold);
}

}  // namespace attnlab
