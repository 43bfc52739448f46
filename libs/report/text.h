// Text of the report: names come from files and may hold anything.
#pragma once

#include <string>
#include <vector>

namespace attnlab {

// Valid UTF-8 without control characters: what is not becomes U+FFFD or a space.
std::string CleanText(const std::string& text);

// For the inside of an element or of a quoted attribute.
std::string EscapeHtml(const std::string& text);

// For a cell of a Markdown table.
std::string EscapeMarkdown(const std::string& text);

// A number with `digits` significant digits ("33510", "1.091", "4.2e-07"); an en dash for NaN.
// "fraction" is shown in per cent with two decimals.
std::string FormatNumber(double value, const std::string& unit = "", int digits = 4);

// "LOW … HIGH" of values that differ as they are shown, else "".
std::string FormatRange(const std::vector<double>& values, const std::string& unit = "");

// A short title of a metric or series: "kurtosis_pooled" -> "kurtosis", "sink_rate_0.3_T64" ->
// "sink rate, ε 0.3, T 64"; a name that is not known with spaces for underscores.
std::string ShortTitle(const std::string& name);

// `label`, or the short title of what has none.
std::string LabelOf(const std::string& name, const std::string& label);

}  // namespace attnlab
