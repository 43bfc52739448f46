// What one named entry of each part of the record is in the file. Private to the layout of
// results.h5.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "libs/io/h5.h"
#include "libs/io/results.h"

namespace attnlab {

// Writes into the entry's group, which is there.
void Store(h5::Builder& builder, const std::string& path, Series& series);
void Store(h5::Builder& builder, const std::string& path, Metric& metric);
void Store(h5::Builder& builder, const std::string& path, EvalScore& score);
void Store(h5::Builder& builder, const std::string& path, Histogram& histogram);
void Store(h5::Builder& builder, const std::string& path, HeadMetric& metric);
void Store(h5::Builder& builder, const std::string& path, LayerProfile& profile);
void Store(h5::Builder& builder, const std::string& path, AttentionMap& map);
void Store(h5::Builder& builder, const std::string& path, std::vector<Box>& boxes);
void Store(h5::Builder& builder, const std::string& path, Claim& claim);

// Reads it back. InvalidArgument when the arrays do not fit each other.
absl::Status Load(const h5::Reader& reader, const std::string& path, Series& series);
absl::Status Load(const h5::Reader& reader, const std::string& path, Metric& metric);
absl::Status Load(const h5::Reader& reader, const std::string& path, EvalScore& score);
absl::Status Load(const h5::Reader& reader, const std::string& path, Histogram& histogram);
absl::Status Load(const h5::Reader& reader, const std::string& path, HeadMetric& metric);
absl::Status Load(const h5::Reader& reader, const std::string& path, LayerProfile& profile);
absl::Status Load(const h5::Reader& reader, const std::string& path, AttentionMap& map);
absl::Status Load(const h5::Reader& reader, const std::string& path, std::vector<Box>& boxes);
absl::Status Load(const h5::Reader& reader, const std::string& path, Claim& claim);

}  // namespace attnlab
