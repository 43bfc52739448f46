// Strides, bfloat16 and wrong arguments at the launch interface.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "kernels/dispatch.h"
#include "tests/kernels/cases.h"

namespace attnlab::testing {
namespace {

const Case kCase{"launch", {2, 4, 2, 70, 70, 16, 24}};

uint16_t ToBits(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}
float FromBits(uint16_t bits) {
  const uint32_t wide = static_cast<uint32_t>(bits) << 16;
  float x;
  std::memcpy(&x, &wide, 4);
  return x;
}

// [batch, heads, rows, dim] as views of [batch, rows, heads, dim], as a projection leaves them.
template <class To>
To Interleaved(void* data, int64_t heads, int64_t rows, int64_t dim) {
  return {data, rows * heads * dim, dim, heads * dim};
}
template <class T>
std::vector<T> Interleave(const std::vector<T>& x, int64_t heads, int64_t rows, int64_t dim) {
  std::vector<T> result(x.size());
  for (size_t i = 0; i < x.size(); ++i) {
    const int64_t c = i % dim, row = i / dim % rows, head = i / (dim * rows) % heads;
    const int64_t batch = i / (dim * rows * heads);
    result[((batch * rows + row) * heads + head) * dim + c] = x[i];
  }
  return result;
}

TEST(LaunchTest, ReadsAndWritesAnyStrides) {
  const Shape& s = kCase.shape;
  std::vector<int32_t> documents;
  const Subject subject = Registered("softpick");
  const Tensors<float> x = MakeInputs(subject, kCase, 4);
  const Problem dense = MakeProblem(subject, kCase, MakeMask(kCase, documents), x);
  const Gradients<float> want = RunKernels(subject, dense, x);

  auto q = Interleave(x.q, s.heads, s.queries, s.head_dim);
  auto k = Interleave(x.k, s.kv_heads, s.keys, s.head_dim);
  auto v = Interleave(x.v, s.kv_heads, s.keys, s.value_dim);
  auto out_grad = Interleave(x.out_grad, s.heads, s.queries, s.value_dim);
  std::vector<float> out(want.out.size()), shift(s.batch * s.heads * s.queries), den = shift;
  std::vector<float> q_grad(q.size()), k_grad(k.size()), v_grad(v.size());
  ForwardArgs forward;
  static_cast<Problem&>(forward) = dense;
  forward.q = Interleaved<Operand>(q.data(), s.heads, s.queries, s.head_dim);
  forward.k = Interleaved<Operand>(k.data(), s.kv_heads, s.keys, s.head_dim);
  forward.v = Interleaved<Operand>(v.data(), s.kv_heads, s.keys, s.value_dim);
  forward.out = Interleaved<Result>(out.data(), s.heads, s.queries, s.value_dim);
  forward.shift = shift.data();
  forward.denominator = den.data();
  ASSERT_STREQ(Forward(forward), nullptr);
  BackwardArgs backward;
  static_cast<Problem&>(backward) = forward;
  backward.out = Interleaved<Operand>(out.data(), s.heads, s.queries, s.value_dim);
  backward.out_grad = Interleaved<Operand>(out_grad.data(), s.heads, s.queries, s.value_dim);
  backward.shift = shift.data();
  backward.denominator = den.data();
  backward.q_grad = Interleaved<Result>(q_grad.data(), s.heads, s.queries, s.head_dim);
  backward.k_grad = Interleaved<Result>(k_grad.data(), s.kv_heads, s.keys, s.head_dim);
  backward.v_grad = Interleaved<Result>(v_grad.data(), s.kv_heads, s.keys, s.value_dim);
  ASSERT_STREQ(Backward(backward), nullptr);
  EXPECT_EQ(out, Interleave(want.out, s.heads, s.queries, s.value_dim));
  EXPECT_EQ(q_grad, Interleave(want.q, s.heads, s.queries, s.head_dim));
  EXPECT_EQ(k_grad, Interleave(want.k, s.kv_heads, s.keys, s.head_dim));
  EXPECT_EQ(v_grad, Interleave(want.v, s.kv_heads, s.keys, s.value_dim));
}

// bfloat16 in and out: the float32 result of the same rounded operands, rounded once.
TEST(LaunchTest, BFloat16) {
  const Shape& s = kCase.shape;
  std::vector<int32_t> documents;
  const Subject subject = Registered("softmax");
  Tensors<float> x = MakeInputs(subject, kCase, 4);
  std::vector<uint16_t> q, k, v, out_grad;
  const auto round = [](std::vector<float>& from, std::vector<uint16_t>& bits) {
    for (float& value : from) {
      bits.push_back(ToBits(value));
      value = FromBits(bits.back());
    }
  };
  round(x.q, q);
  round(x.k, k);
  round(x.v, v);
  round(x.out_grad, out_grad);
  const Problem dense = MakeProblem(subject, kCase, MakeMask(kCase, documents), x);
  const Gradients<double> truth = subject.truth(dense, x).exact;

  std::vector<uint16_t> out(truth.out.size()), q_grad(q.size()), k_grad(k.size()), v_grad(v.size());
  std::vector<float> shift(s.batch * s.heads * s.queries), den = shift;
  ForwardArgs forward;
  static_cast<Problem&>(forward) = dense;
  forward.dtype = DType::kBFloat16;
  forward.q.data = q.data();
  forward.k.data = k.data();
  forward.v.data = v.data();
  forward.out = MutableView(out.data(), s.heads, s.queries, s.value_dim);
  forward.shift = shift.data();
  forward.denominator = den.data();
  ASSERT_STREQ(Forward(forward), nullptr);
  BackwardArgs backward;
  static_cast<Problem&>(backward) = forward;
  backward.out = View(out.data(), s.heads, s.queries, s.value_dim);
  backward.out_grad = View(out_grad.data(), s.heads, s.queries, s.value_dim);
  backward.shift = shift.data();
  backward.denominator = den.data();
  backward.q_grad = MutableView(q_grad.data(), s.heads, s.queries, s.head_dim);
  backward.k_grad = MutableView(k_grad.data(), s.kv_heads, s.keys, s.head_dim);
  backward.v_grad = MutableView(v_grad.data(), s.kv_heads, s.keys, s.value_dim);
  ASSERT_STREQ(Backward(backward), nullptr);
  // Half a unit in the last of 8 bits, and for the gradients the rounded output in D besides.
  const auto expect = [](const char* what, const std::vector<uint16_t>& got,
                         const std::vector<double>& want, double slack) {
    double largest = 0;
    for (double value : want) largest = std::max(largest, std::abs(value));
    for (size_t i = 0; i < want.size(); ++i) {
      ASSERT_NEAR(FromBits(got[i]), want[i], std::abs(want[i]) / 256 + slack * largest)
          << what << " " << i;
    }
  };
  expect("out", out, truth.out, 1e-6);
  expect("dQ", q_grad, truth.q, 2e-3);
  expect("dK", k_grad, truth.k, 2e-3);
  expect("dV", v_grad, truth.v, 1e-6);

  std::vector<uint16_t> decoded(out.size());
  forward.out.data = decoded.data();
  ASSERT_STREQ(Decode(forward), nullptr);
  expect("decode", decoded, truth.out, 1e-6);
}

TEST(LaunchTest, WrongArgumentsAreNamed) {
  std::vector<int32_t> documents;
  const Subject subject = Registered("sink_logit");
  const Tensors<float> x = MakeInputs(subject, kCase, 4);
  ForwardArgs good;
  static_cast<Problem&>(good) = MakeProblem(subject, kCase, MakeMask(kCase, documents), x);
  std::vector<float> out(2 * 4 * 70 * 24);
  good.out = MutableView(out.data(), 4, 70, 24);
  ASSERT_STREQ(Forward(good), nullptr);
  const auto wrong = [&](auto&& change) {
    ForwardArgs args = good;
    change(args);
    const char* message = Forward(args);
    EXPECT_NE(message, nullptr);
    EXPECT_STREQ(message, Decode(args));
    return std::string(message == nullptr ? "" : message);
  };
  EXPECT_EQ(wrong([](ForwardArgs& a) { a.weighting = 99; }), "no such weighting");
  EXPECT_EQ(wrong([](ForwardArgs& a) { a.shape.kv_heads = 3; }),
            "shape: heads is not a multiple of kv_heads");
  EXPECT_EQ(wrong([](ForwardArgs& a) { a.shape.keys = -1; }),
            "shape: a size is negative, or there are no heads or dims");
  EXPECT_EQ(wrong([](ForwardArgs& a) { a.q.data = nullptr; }), "q is null");
  EXPECT_EQ(wrong([](ForwardArgs& a) { a.v.data = nullptr; }), "k or v is null");
  EXPECT_EQ(wrong([](ForwardArgs& a) { a.out.data = nullptr; }), "out is null");
  EXPECT_EQ(wrong([](ForwardArgs& a) { a.learned[0] = nullptr; }),
            "a learned number of the weighting is null");
  EXPECT_EQ(wrong([](ForwardArgs& a) { a.mask.window = -1; }), "mask: negative window");
  EXPECT_EQ(wrong([&](ForwardArgs& a) { a.shift = out.data(); }),
            "shift and denominator must be given together");
  const int32_t ids[140] = {};
  EXPECT_EQ(wrong([&](ForwardArgs& a) { a.mask.key_documents = ids; }),
            "mask: documents of queries and keys must be given together");
  EXPECT_EQ(wrong([&](ForwardArgs& a) { a.cache.key_lengths = ids; }),
            "cache: key lengths and pages are for decode on a CUDA device");
  const auto paged = [&](ForwardArgs& a, int64_t page_size, int64_t blocks) {
    a.device = 0;
    a.cache = {nullptr, ids, blocks, page_size};
  };
  EXPECT_EQ(wrong([&](ForwardArgs& a) { paged(a, 24, 4); }),
            "cache: the page size is not a multiple of 16");
  EXPECT_EQ(wrong([&](ForwardArgs& a) { paged(a, 16, 4); }),
            "cache: the block table holds fewer keys than the shape says");
}

TEST(LaunchTest, InstructionSets) {
  ASSERT_FALSE(InstructionSets().empty());
  EXPECT_STREQ(InstructionSets().back(), "baseline");
  EXPECT_FALSE(UseInstructionSet("mmx"));
  EXPECT_TRUE(UseInstructionSet(InstructionSets()[0]));
}

}  // namespace
}  // namespace attnlab::testing
