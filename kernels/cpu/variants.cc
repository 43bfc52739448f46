// The variants of the registry as tile functions, and the entry points of this instruction set.
#include "kernels/all_weightings.h"
#include "kernels/cpu/blocked.h"

namespace attnlab::ATTNLAB_ISA {
namespace {

constexpr VariantOps kOps[] = {
#define ATTNLAB_WEIGHTING(file, Type) MakeVariantOps<Type>(),
#include "kernels/weightings.def"
#undef ATTNLAB_WEIGHTING
};

}  // namespace

void RunForward(const ForwardArgs& args) { Forward(args, kOps[args.weighting]); }
void RunBackward(const BackwardArgs& args) { Backward(args, kOps[args.weighting]); }
void RunDecode(const ForwardArgs& args) { Decode(args, kOps[args.weighting]); }

}  // namespace attnlab::ATTNLAB_ISA
