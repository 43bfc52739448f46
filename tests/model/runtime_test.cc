#include "libs/model/runtime.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

namespace attnlab {
namespace {

class TakeOneGpuTest : public testing::Test {
 protected:
  void SetUp() override {
    if (const char* set = std::getenv(kName)) before_ = set;
  }
  void TearDown() override {
    if (before_.empty()) {
      unsetenv(kName);
    } else {
      setenv(kName, before_.c_str(), 1);
    }
  }
  // What the process sees of `visible` after it took one.
  std::string Take(const char* visible, const std::string& device, size_t index) {
    setenv(kName, visible, 1);
    TakeOneGpu(device, index);
    return std::getenv(kName);
  }

  static constexpr char kName[] = "CUDA_VISIBLE_DEVICES";
  std::string before_;
};

TEST_F(TakeOneGpuTest, GoesThroughThem) {
  EXPECT_EQ(Take("0,1,3", "auto", 0), "0");
  EXPECT_EQ(Take("0,1,3", "cuda", 2), "3");
  EXPECT_EQ(Take("0,1,3", "auto", 4), "1");
}

TEST_F(TakeOneGpuTest, LeavesWhatIsChosen) {
  EXPECT_EQ(Take("0,1", "cuda:1", 0), "0,1");
  EXPECT_EQ(Take("0,1", "cpu", 1), "0,1");
  EXPECT_EQ(Take("2", "auto", 1), "2");
  EXPECT_EQ(Take("", "auto", 1), "");
}

}  // namespace
}  // namespace attnlab
