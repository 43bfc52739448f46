// Arguments of the backward of device/oracle.cuh, filled by kernels/cuda/oracle.cc.
#pragma once

#include "kernels/cuda/device/params.h"

namespace attnlab::oracle {

// What the query kernel leaves for the key kernel, a query row.
struct RowRecord {
  float delta;  // dO . o
  Affine<float> map;
};

struct BackwardParams : attnlab::BackwardParams {
  RowRecord* rows;  // [batch, heads, queries]
};

}  // namespace attnlab::oracle
