// The row kernels of every instruction set of this machine against float64, at widths that fill no
// vector, one, and several with a rest.

#include "kernels/fused/rows.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "libs/core/rng.h"

namespace attnlab {
namespace {

constexpr int64_t kRows = 5;
constexpr int64_t kWidths[] = {1, 3, 16, 17, 64, 65, 168};

std::vector<const RowKernels*> Sets() {
  const RowKernels* sets[8];
  return {sets, sets + RowKernelSets(sets, 8)};
}

std::vector<float> Random(const std::string& name, int64_t count, double scale = 1) {
  Rng rng(11, name);
  std::vector<float> values(count);
  for (float& value : values) value = static_cast<float>(scale * rng.Normal());
  return values;
}

void ExpectNear(const std::vector<float>& values, const std::vector<double>& expected,
                double tolerance) {
  ASSERT_EQ(values.size(), expected.size());
  for (size_t i = 0; i < values.size(); ++i) {
    ASSERT_NEAR(values[i], expected[i], tolerance * (1 + std::abs(expected[i]))) << "at " << i;
  }
}

TEST(RowKernels, BaselineIsAlwaysThere) {
  EXPECT_STREQ(Sets().back()->instruction_set, "baseline");
  EXPECT_EQ(&BestRowKernels(), Sets().front());
}

TEST(RowKernels, RmsNormAgreesWithFloat64) {
  const double eps = 1e-3;
  for (const RowKernels* set : Sets()) {
    for (const int64_t width : kWidths) {
      SCOPED_TRACE(std::string(set->instruction_set) + " " + std::to_string(width));
      const int64_t count = kRows * width;
      const auto x = Random("x", count, 3), delta = Random("delta", count),
                 weight = Random("weight", width), out_grad = Random("out_grad", count),
                 sum_grad = Random("sum_grad", count);
      std::vector<float> sum(count), out(count), scale(kRows), x_grad(count), weight_grad(width);
      set->rms_norm_forward({width, static_cast<float>(eps), x.data(), delta.data(), weight.data(),
                             sum.data(), out.data(), scale.data()},
                            0, kRows);
      set->rms_norm_backward({width, sum.data(), weight.data(), scale.data(), out_grad.data(),
                              sum_grad.data(), x_grad.data(), weight_grad.data()},
                             0, kRows);
      std::vector<double> want_out(count), want_x_grad(count), want_weight_grad(width);
      for (int64_t r = 0; r < kRows; ++r) {
        double squares = 0, products = 0;
        std::vector<double> s(width);
        for (int64_t i = 0; i < width; ++i) {
          s[i] = static_cast<double>(x[r * width + i]) + delta[r * width + i];
          squares += s[i] * s[i];
        }
        const double factor = 1 / std::sqrt(squares / width + eps);
        for (int64_t i = 0; i < width; ++i) products += out_grad[r * width + i] * weight[i] * s[i];
        for (int64_t i = 0; i < width; ++i) {
          const int64_t at = r * width + i;
          want_out[at] = weight[i] * s[i] * factor;
          want_x_grad[at] = sum_grad[at] + factor * weight[i] * out_grad[at] -
                            factor * factor * factor * s[i] * products / width;
          want_weight_grad[i] += out_grad[at] * s[i] * factor;
        }
      }
      ExpectNear(out, want_out, 1e-5);
      ExpectNear(x_grad, want_x_grad, 2e-5);
      ExpectNear(weight_grad, want_weight_grad, 2e-5);
    }
  }
}

TEST(RowKernels, SwiGluAgreesWithFloat64) {
  for (const RowKernels* set : Sets()) {
    for (const int64_t width : kWidths) {
      SCOPED_TRACE(std::string(set->instruction_set) + " " + std::to_string(width));
      auto gate_up = Random("gate_up", kRows * 2 * width, 4);
      gate_up[0] = 90;  // e^-gate under- and overflows
      gate_up[2 * width] = -90;
      const auto out_grad = Random("out_grad", kRows * width);
      std::vector<float> out(kRows * width), grad(gate_up.size());
      set->swiglu_forward({width, gate_up.data(), out.data()}, 0, kRows);
      set->swiglu_backward({width, gate_up.data(), out_grad.data(), grad.data()}, 0, kRows);
      std::vector<double> want_out(kRows * width), want_grad(gate_up.size());
      for (int64_t r = 0; r < kRows; ++r) {
        for (int64_t i = 0; i < width; ++i) {
          const double gate = gate_up[r * 2 * width + i], up = gate_up[r * 2 * width + width + i];
          const double sigmoid = 1 / (1 + std::exp(-gate)), g = out_grad[r * width + i];
          want_out[r * width + i] = gate * sigmoid * up;
          want_grad[r * 2 * width + i] = g * up * sigmoid * (1 + gate * (1 - sigmoid));
          want_grad[r * 2 * width + width + i] = g * gate * sigmoid;
        }
      }
      ExpectNear(out, want_out, 1e-6);
      ExpectNear(grad, want_grad, 3e-6);
    }
  }
}

TEST(RowKernels, RopeTurnsPairsAndBack) {
  const int64_t tokens = 3, heads = 2;
  for (const RowKernels* set : Sets()) {
    for (const int64_t half : {1, 4, 16, 20}) {
      SCOPED_TRACE(std::string(set->instruction_set) + " " + std::to_string(half));
      const int64_t dim = 2 * half, count = 2 * tokens * heads * dim;
      const auto from = Random("from", count), angles = Random("angles", tokens * half);
      std::vector<float> cos(angles.size()), sin(angles.size()), to(count), back(count);
      for (size_t i = 0; i < angles.size(); ++i) {
        cos[i] = std::cos(angles[i]);
        sin[i] = std::sin(angles[i]);
      }
      RopeArgs args;  // from [B, T, H, D] to [B, H, T, D]
      args.tokens = tokens;
      args.heads = heads;
      args.half = half;
      args.cos = cos.data();
      args.sin = sin.data();
      args.from = from.data();
      args.from_batch = args.to_batch = tokens * heads * dim;
      args.from_token = heads * dim;
      args.from_head = dim;
      args.to = to.data();
      args.to_head = tokens * dim;
      args.to_token = dim;
      set->rope(args, 0, 2 * tokens);
      std::vector<double> want(count);
      for (int64_t b = 0; b < 2; ++b) {
        for (int64_t t = 0; t < tokens; ++t) {
          for (int64_t h = 0; h < heads; ++h) {
            for (int64_t i = 0; i < half; ++i) {
              const float* head = &from[((b * tokens + t) * heads + h) * dim];
              double* turned = &want[((b * heads + h) * tokens + t) * dim];
              const double angle = angles[t * half + i];
              turned[i] = head[i] * std::cos(angle) - head[i + half] * std::sin(angle);
              turned[i + half] = head[i + half] * std::cos(angle) + head[i] * std::sin(angle);
            }
          }
        }
      }
      ExpectNear(to, want, 1e-6);
      std::swap(args.from_head, args.to_head);
      std::swap(args.from_token, args.to_token);
      args.from = to.data();
      args.to = back.data();
      args.inverse = true;
      set->rope(args, 0, 2 * tokens);
      ExpectNear(back, {from.begin(), from.end()}, 1e-6);
    }
  }
}

TEST(RowKernels, CrossEntropyAgreesWithFloat64) {
  for (const RowKernels* set : Sets()) {
    for (const int64_t width : kWidths) {
      SCOPED_TRACE(std::string(set->instruction_set) + " " + std::to_string(width));
      const auto logits = Random("logits", kRows * width, 30), loss_grad = Random("grad", kRows);
      std::vector<int64_t> targets = {0, width - 1, -1, width / 2, width / 3};
      std::vector<float> loss(kRows), log_sum(kRows), grad(logits.size());
      set->cross_entropy_forward(
          {width, logits.data(), targets.data(), loss.data(), log_sum.data()}, 0, kRows);
      set->cross_entropy_backward(
          {width, logits.data(), targets.data(), log_sum.data(), loss_grad.data(), grad.data()}, 0,
          kRows);
      std::vector<double> want_loss(kRows), want_grad(logits.size());
      for (int64_t r = 0; r < kRows; ++r) {
        if (targets[r] < 0) continue;
        const float* row = &logits[r * width];
        double best = row[0], sum = 0;
        for (int64_t i = 0; i < width; ++i) best = std::max<double>(best, row[i]);
        for (int64_t i = 0; i < width; ++i) sum += std::exp(row[i] - best);
        want_loss[r] = best + std::log(sum) - row[targets[r]];
        for (int64_t i = 0; i < width; ++i) {
          want_grad[r * width + i] =
              loss_grad[r] * (std::exp(row[i] - best) / sum - (i == targets[r] ? 1 : 0));
        }
      }
      ExpectNear(loss, want_loss, 1e-5);
      ExpectNear(grad, want_grad, 1e-5);
    }
  }
}

TEST(RowKernels, CrossEntropyKeepsNotANumber) {
  for (const RowKernels* set : Sets()) {
    for (const int64_t place : {0, 7, 64}) {
      std::vector<float> logits(65, 1.0f), loss(1), log_sum(1);
      logits[place] = std::numeric_limits<float>::quiet_NaN();
      const int64_t target = 3;
      set->cross_entropy_forward({65, logits.data(), &target, loss.data(), log_sum.data()}, 0, 1);
      EXPECT_TRUE(std::isnan(loss[0])) << set->instruction_set << " at " << place;
    }
  }
}

}  // namespace
}  // namespace attnlab
