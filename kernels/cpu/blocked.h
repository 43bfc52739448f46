// The blocked loops of one instruction set, for any variant. Arguments have passed CheckArgs.
#pragma once

#include "kernels/attention.h"
#include "kernels/cpu/variant_ops.h"

namespace attnlab::ATTNLAB_ISA {

void Forward(const ForwardArgs& args, const VariantOps& ops);
void Backward(const BackwardArgs& args, const VariantOps& ops);
void Decode(const ForwardArgs& args, const VariantOps& ops);

// The same for args.weighting of the registry.
void RunForward(const ForwardArgs& args);
void RunBackward(const BackwardArgs& args);
void RunDecode(const ForwardArgs& args);

}  // namespace attnlab::ATTNLAB_ISA
