// What `eval` prints: a table for people, or JSON.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "libs/io/results.h"

namespace attnlab {

struct Evaluation {
  std::string model, variant;
  std::vector<EvalScore> scores;
  std::vector<std::pair<std::string, Metric>> analysis;  // empty when it was not asked for
};

std::string AsTable(const Evaluation& evaluation);
std::string AsJson(const Evaluation& evaluation);

}  // namespace attnlab
