#include "tests/attention/dense.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <random>

#include "kernels/all_weightings.h"
#include "kernels/weighting_info.h"
#include "libs/core/check.h"

namespace attnlab {
namespace {

using Numbers = std::vector<double>;

double Ramp(double x) { return std::max(x, 0.0); }

template <class F>
Numbers Map(Numbers x, F f) {
  for (double& value : x) value = f(value);
  return x;
}
double Sum(const Numbers& x) { return std::accumulate(x.begin(), x.end(), 0.0); }
Numbers Over(const Numbers& x, double denominator) {
  return Map(x, [=](double value) { return denominator == 0 ? 0 : value / denominator; });
}

struct RowFacts {
  Numbers distance;
  double position;
  double n;
  Numbers learned;
  std::map<std::string, double> constants;

  // An epsilon counts in units of e^max(0, row maximum).
  double Epsilon(const Numbers& s) const {
    return constants.at("epsilon") * std::exp(std::max(0.0, *std::max_element(s.begin(), s.end())));
  }
};

double Exp(double x) { return std::exp(x); }
double RampExpm1(double x) { return Ramp(std::expm1(x)); }
double AbsExpm1(double x) { return std::fabs(std::expm1(x)); }

Numbers SoftmaxOf(const Numbers& s, double extra = 0) {
  const double top = *std::max_element(s.begin(), s.end());
  const Numbers e = Map(s, [=](double x) { return std::exp(x - top); });
  return Over(e, Sum(e) + extra * std::exp(-top));
}
Numbers SoftpickOf(const Numbers& s, const RowFacts& row) {
  return Over(Map(s, RampExpm1), Sum(Map(s, AbsExpm1)) + row.Epsilon(s));
}
Numbers Times(const Numbers& s, double factor) {
  return Map(s, [=](double x) { return factor * x; });
}

using Formula = Numbers (*)(const Numbers& x, const RowFacts& row);

const std::map<std::string, Formula>& Formulas() {
  static const auto& formulas = *new std::map<std::string, Formula>{
      {"softmax", [](const Numbers& x, const RowFacts&) { return SoftmaxOf(x); }},
      {"softmax1", [](const Numbers& x, const RowFacts&) { return SoftmaxOf(x, 1); }},
      {"sink_logit", [](const Numbers& x,
                        const RowFacts& row) { return SoftmaxOf(x, std::exp(row.learned[0])); }},
      {"softpick", SoftpickOf},
      {"rectified_softmax",
       [](const Numbers& x, const RowFacts&) {
         const Numbers e = Map(x, [](double s) { return s >= 0 ? Exp(s) : 0; });
         return Over(e, Sum(e));
       }},
      {"relu_softmax",
       [](const Numbers& x, const RowFacts& row) {
         const Numbers e = Map(x, RampExpm1);
         return Over(e, Sum(e) + row.Epsilon(x));
       }},
      {"abs_softmax",
       [](const Numbers& x, const RowFacts& row) {
         const Numbers e = Map(x, AbsExpm1);
         return Over(e, Sum(e) + row.Epsilon(x));
       }},
      {"relu", [](const Numbers& x, const RowFacts& row) { return Over(Map(x, Ramp), row.n); }},
      {"relu2",
       [](const Numbers& x, const RowFacts& row) {
         return Over(Map(x, [](double s) { return Ramp(s) * Ramp(s); }), row.n);
       }},
      {"sigmoid",
       [](const Numbers& x, const RowFacts& row) {
         const double bias =
             row.constants.at("bias") - row.constants.at("log_visible") * std::log(row.n);
         return Map(x, [=](double s) { return 1 / (1 + std::exp(-s - bias)); });
       }},
      {"ssmax",
       [](const Numbers& x, const RowFacts& row) {
         return SoftmaxOf(Times(x, row.learned[0] * std::log(row.n)));
       }},
      {"scaled_softpick",
       [](const Numbers& x, const RowFacts& row) {
         return SoftpickOf(Times(x, row.learned[0] * std::log(row.position + 2)), row);
       }},
      {"thresholded_relu",
       [](const Numbers& x, const RowFacts& row) {
         Numbers p = x;
         for (size_t j = 0; j < x.size(); ++j) {
           p[j] = Ramp(row.learned[0] * x[j] - row.learned[1] - row.learned[2] * row.distance[j]);
         }
         return p;
       }},
  };
  return formulas;
}

// A variant without a textbook formula above: its own, over double.
template <class Variant>
Numbers OwnFormula(const Numbers& x, const RowFacts& facts) {
  Variant variant;
  variant.ForEach([&](const char* name, float& value, const char*) {
    value = static_cast<float>(facts.constants.at(name));
  });
  Row<double> row = {facts.position, facts.n, {}};
  std::copy(facts.learned.begin(), facts.learned.end(), row.learned);
  Numbers s = x;
  if constexpr (requires { variant.Score(row); }) {
    const Affine<double> affine = variant.Score(row);
    for (size_t j = 0; j < x.size(); ++j) {
      s[j] = affine.gain * x[j] + affine.offset - affine.slope * facts.distance[j];
    }
  }
  const double m = std::max(*std::max_element(s.begin(), s.end()), variant.Floor(row));
  double denominator = variant.Tail(m, row);
  Numbers weights;
  for (double score : s) {
    const Weights<double> w = variant.Weigh(score, m);
    weights.push_back(w.weight);
    denominator += w.mass;
  }
  return Over(weights, denominator);
}

constexpr Formula kOwnFormulas[] = {
#define ATTNLAB_WEIGHTING(file, Type) OwnFormula<Type>,
#include "kernels/weightings.def"
#undef ATTNLAB_WEIGHTING
};

bool Sees(const AttentionOptions& options, int64_t position, int64_t key) {
  if (!options.causal) return true;
  if (key > position) return false;
  return options.window == 0 || position - key < options.window || key < options.first_kept;
}

at::Tensor Normal(at::IntArrayRef sizes, std::mt19937& rng, double factor = 1, double mean = 0) {
  const at::Tensor t = at::empty(sizes, at::kDouble);
  std::normal_distribution<double> normal;
  double* data = t.mutable_data_ptr<double>();
  for (int64_t i = 0; i < t.numel(); ++i) data[i] = mean + factor * normal(rng);
  return t;
}

}  // namespace

Operands Operands::To(at::ScalarType type, at::Device device, bool needs_grad) const {
  const auto convert = [&](const at::Tensor& t, at::ScalarType to) {
    return t.detach()
        .to(device, to, /*non_blocking=*/false, /*copy=*/true)
        .set_requires_grad(needs_grad);
  };
  Operands result = {
      convert(q, type), convert(k, type), convert(v, type), {}, out_grad.to(device, type)};
  const at::ScalarType learned_type = type == at::kDouble ? at::kDouble : at::kFloat;
  for (const at::Tensor& t : learned) result.learned.push_back(convert(t, learned_type));
  return result;
}

Operands RandomOperands(const Dimensions& d, const AttentionOptions& options, double sharpness,
                        int seed) {
  std::mt19937 rng(seed);
  Operands result;
  result.q = Normal({d.batch, d.heads, d.queries, d.head_dim}, rng, sharpness);
  result.k = Normal({d.batch, d.kv_heads, d.keys, d.head_dim}, rng);
  result.v = Normal({d.batch, d.kv_heads, d.keys, d.value_dim}, rng);
  result.out_grad = Normal({d.batch, d.heads, d.queries, d.value_dim}, rng);
  for (const HeadParameter& parameter : HeadParameters(options)) {
    result.learned.push_back(Normal({d.heads}, rng, 0.05, parameter.init));
  }
  return result;
}

std::vector<double> DenseRow(const AttentionOptions& options, const std::vector<double>& x,
                             const std::vector<double>& distance, double position,
                             const std::vector<double>& learned) {
  const int index = FindWeighting(options.weighting).value();
  RowFacts row = {distance, position, static_cast<double>(x.size()), learned, {}};
  for (const ConstantInfo& constant : Weightings()[index].constants) {
    const auto set = options.constants.find(constant.name);
    row.constants[constant.name] = set == options.constants.end() ? constant.value : set->second;
  }
  const auto formula = Formulas().find(options.weighting);
  return formula != Formulas().end() ? formula->second(x, row) : kOwnFormulas[index](x, row);
}

at::Tensor DenseAttention(const Operands& operands, const AttentionOptions& options) {
  const auto q = operands.q.accessor<double, 4>();
  const auto k = operands.k.accessor<double, 4>();
  const auto v = operands.v.accessor<double, 4>();
  const int64_t queries = q.size(2), keys = k.size(2), head_dim = q.size(3);
  const double scale = options.scale > 0 ? options.scale : 1 / std::sqrt(double(head_dim));
  const at::Tensor out = at::zeros({q.size(0), q.size(1), queries, v.size(3)}, at::kDouble);
  auto o = out.accessor<double, 4>();
  for (int64_t b = 0; b < q.size(0); ++b) {
    for (int64_t h = 0; h < q.size(1); ++h) {
      const int64_t kv = h / (q.size(1) / k.size(1));
      Numbers learned;
      for (const at::Tensor& t : operands.learned) learned.push_back(t[h].item<double>());
      for (int64_t i = 0; i < queries; ++i) {
        const int64_t position = options.causal ? i + keys - queries : i;
        Numbers x, distance;
        std::vector<int64_t> seen;
        for (int64_t j = 0; j < keys; ++j) {
          if (!Sees(options, position, j)) continue;
          double dot = 0;
          for (int64_t d = 0; d < head_dim; ++d) dot += q[b][h][i][d] * k[b][kv][j][d];
          x.push_back(scale * dot);
          distance.push_back(double(position - j));
          seen.push_back(j);
        }
        const Numbers weights = DenseRow(options, x, distance, double(position), learned);
        for (size_t j = 0; j < seen.size(); ++j) {
          for (int64_t d = 0; d < v.size(3); ++d)
            o[b][h][i][d] += weights[j] * v[b][kv][seen[j]][d];
        }
      }
    }
  }
  return out;
}

std::vector<at::Tensor> DenseGradients(const Operands& operands, const AttentionOptions& options) {
  constexpr double kStep = 1e-5;
  Operands moved = operands.To(at::kDouble);
  const auto loss = [&] {
    return DenseAttention(moved, options).mul(operands.out_grad).sum().item<double>();
  };
  std::vector<at::Tensor> variables = {moved.q, moved.k, moved.v};
  variables.insert(variables.end(), moved.learned.begin(), moved.learned.end());
  std::vector<at::Tensor> gradients;
  for (const at::Tensor& variable : variables) {
    const at::Tensor gradient = at::zeros(variable.sizes(), at::kDouble);
    double* x = variable.mutable_data_ptr<double>();
    double* g = gradient.mutable_data_ptr<double>();
    for (int64_t i = 0; i < variable.numel(); ++i) {
      const double at = x[i];
      x[i] = at + kStep;
      const double above = loss();
      x[i] = at - kStep;
      g[i] = (above - loss()) / (2 * kStep);
      x[i] = at;
    }
    gradients.push_back(gradient);
  }
  return gradients;
}

double Distance(const at::Tensor& a, const at::Tensor& b) {
  const at::Tensor left = a.detach().cpu().to(at::kDouble),
                   right = b.detach().cpu().to(at::kDouble);
  if (left.sizes() != right.sizes() || !left.isfinite().all().item<bool>()) {
    return std::numeric_limits<double>::infinity();
  }
  if (left.numel() == 0) return 0;
  return left.sub(right).abs().max().item<double>() / (1 + right.abs().max().item<double>());
}

}  // namespace attnlab
