// The laws that blocked.cc relies on: constants stay constants, and a tensor is written in place
// exactly when nobody else can see it and no gradient needs it.
#include "libs/attention/field.h"

#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

namespace attnlab {
namespace {

at::Tensor Numbers() { return at::tensor({-2.0, -0.5, 0.0, 1e-6, 3.0}, at::kDouble); }

TEST(Field, ZeroAndOneCostNothing) {
  const Field x(Numbers());
  EXPECT_TRUE((x * Field(1)).is_same(x));
  EXPECT_TRUE((Field(0) + x).is_same(x));
  EXPECT_TRUE((x - Field(0)).is_same(x));
  EXPECT_TRUE((Field(0) * x).is_zero());
  EXPECT_TRUE((Field(0) / x).is_zero());
  EXPECT_DOUBLE_EQ(Exp(Field(2) * Field(3) - Field(1)).constant(), std::exp(5));
}

TEST(Field, WritesInPlaceOnlyWhatIsItsOwn) {
  const c10::AutoGradMode off(false);
  Field own(Numbers());
  const void* storage = own.tensor().data_ptr();
  own = Exp(std::move(own));
  EXPECT_EQ(own.tensor().data_ptr(), storage);

  const Field shared = own;
  const Field sum = own + Field(1);
  EXPECT_NE(sum.tensor().data_ptr(), storage);
  EXPECT_TRUE(shared.tensor().equal(Numbers().exp()));

  const at::Tensor whole = Numbers();
  Exp(Field(whole.slice(0, 1, 3)));
  EXPECT_TRUE(whole.equal(Numbers())) << "a view is not its own";
}

TEST(Field, KeepsWhatAGradientNeeds) {
  const at::Tensor x = Numbers().set_requires_grad(true);
  Exp(Exp(Field(x) * Field(0.5)) * Field(2)).tensor().sum().backward();
  const at::Tensor e = Numbers().mul(0.5).exp();
  EXPECT_TRUE(x.grad().allclose(e.mul(e.mul(2).exp())));
}

TEST(Field, SlopesAtZeroAreZero) {
  const c10::AutoGradMode off(false);
  const Dual<Field> x(Field(Numbers()), Field(at::tensor({2., 2., 2., 2., 2.}, at::kDouble)));
  EXPECT_TRUE(Relu(x).slope.tensor().equal(at::tensor({0., 0., 0., 2., 2.}, at::kDouble)));
  EXPECT_TRUE(Abs(x).slope.tensor().equal(at::tensor({-2., -2., 0., 2., 2.}, at::kDouble)));
  const Dual<Field> unit(Field(Numbers()), Field(1));
  EXPECT_TRUE(Abs(unit).slope.tensor().equal(at::tensor({-1., -1., 0., 1., 1.}, at::kDouble)));
}

TEST(Field, ExpDiffNeitherCancelsNorOverflows) {
  const auto value = [](float s, float m) {
    return ExpDiff(Field(at::tensor({s}, at::kFloat)), Field(at::tensor({m}, at::kFloat)))
        .tensor()
        .item<double>();
  };
  EXPECT_NEAR(value(1e-6f, 5) / (std::exp(-5.0) * std::expm1(double(1e-6f))), 1, 1e-6);
  EXPECT_NEAR(value(300, 300), 1, 1e-6);
  EXPECT_NEAR(value(290, 300), std::exp(-10.0), 1e-9);
  EXPECT_NEAR(value(-1000, 300), 0, 1e-30);
  EXPECT_NEAR(value(-1000, 0), -1, 1e-6);
}

}  // namespace
}  // namespace attnlab
