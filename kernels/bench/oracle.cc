#include "kernels/bench/oracle.h"

#include "kernels/all_weightings.h"

namespace attnlab {
namespace {

struct Functions {
  Truth (*truth)(const Problem&, const Tensors<float>&);
  Gradients<double> (*exact)(const Problem&, const Tensors<double>&);
};

template <class Variant>
Gradients<double> ComputeExactOf(const Problem& problem, const Tensors<double>& x) {
  const auto variant = WithConstants<Variant>(problem.constants);
  return DenseAttention<Variant, double>(variant, problem, x).Run();
}

constexpr Functions kFunctions[] = {
#define ATTNLAB_WEIGHTING(file, Type) {ComputeTruthOf<Type>, ComputeExactOf<Type>},
#include "kernels/weightings.def"
#undef ATTNLAB_WEIGHTING
};

}  // namespace

Truth ComputeTruth(const Problem& problem, const Tensors<float>& x) {
  return kFunctions[problem.weighting].truth(problem, x);
}

Gradients<double> ComputeExact(const Problem& problem, const Tensors<double>& x) {
  return kFunctions[problem.weighting].exact(problem, x);
}

Deviation Compare(const std::vector<float>& got, const std::vector<float>& plain,
                  const std::vector<double>& exact, double terms, double slack) {
  Deviation result{0, 0, 0};
  double largest = terms;
  for (size_t i = 0; i < exact.size(); ++i) {
    const double error = std::abs(got[i] - exact[i]);
    if (!(error <= result.worst)) {
      result.worst = error;
      result.at = i;
    }
    result.allowed = std::max(result.allowed, 2 * std::abs(plain[i] - exact[i]));
    largest = std::max(largest, std::abs(exact[i]));
    if (std::isnan(result.worst)) break;
  }
  result.allowed += slack * largest + 1e-30;  // float32 flushes what is smaller
  return result;
}

}  // namespace attnlab
