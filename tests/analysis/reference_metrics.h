// The metrics of docs/metrics.md once more, from whole float64 maps and matrices, the long way
// round: no running sums, no shared code with libs/analysis.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

namespace attnlab::naive {

using Map = std::vector<std::vector<double>>;  // [queries][keys], 0 above the diagonal

// alpha_k at T: mean over queries k .. T - 1 of the weight on key k.
inline double Alpha(const Map& map, int tokens, int key) {
  double sum = 0;
  for (int i = key; i < tokens; ++i) sum += map[i][key];
  return sum / (tokens - key);
}

inline Map Proxy(const Map& map) {
  Map proxy = map;
  for (std::vector<double>& row : proxy) {
    double sum = 0;
    for (double weight : row) sum += std::abs(weight);
    for (double& weight : row) weight = sum > 0 ? std::abs(weight) / sum : 0;
  }
  return proxy;
}

// Share of the causal triangle for which `test` holds.
template <class Test>
double TriangleShare(const std::vector<Map>& maps, Test test) {
  double hits = 0, entries = 0;
  for (const Map& map : maps) {
    for (size_t i = 0; i < map.size(); ++i) {
      for (size_t j = 0; j <= i; ++j) {
        hits += test(map[i][j]);
        ++entries;
      }
    }
  }
  return hits / entries;
}

inline double Mean(const std::vector<double>& values) {
  double sum = 0;
  for (double value : values) sum += value;
  return sum / static_cast<double>(values.size());
}

// Mean of (x - centre)^power.
inline double Moment(const std::vector<double>& values, double centre, int power) {
  double sum = 0;
  for (double value : values) sum += std::pow(value - centre, power);
  return sum / static_cast<double>(values.size());
}

inline double Kurtosis(const std::vector<double>& values) {
  const double mean = Mean(values);
  return Moment(values, mean, 4) / std::pow(Moment(values, mean, 2), 2);
}

inline double BondarenkoKurtosis(const std::vector<double>& values) {
  const double n = static_cast<double>(values.size()), mean = Mean(values);
  const double sd = std::sqrt(Moment(values, mean, 2) * n / (n - 1));
  return Moment(values, mean, 4) / (std::pow(sd, 4) + 1e-6);
}

inline double ExcessKurtosis(const std::vector<double>& values) {
  const double sd = std::sqrt(Moment(values, Mean(values), 2));
  return std::max(0.0, Moment(values, 0, 4) / std::pow(sd, 4) - 3);
}

inline double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t n = values.size();
  return n % 2 == 1 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

}  // namespace attnlab::naive
