// Config structs list their fields once; defaults, parsing, --help, the resolved dump and
// config.json come from it.
//
//   struct Schedule {
//     double peak = 3e-4;
//     int64_t warmup = 100;
//     template <class Visitor> void ForEach(Visitor&& visit) {
//       visit("peak", peak, "learning rate after warm-up");
//       visit("warmup", warmup, "steps of linear warm-up");
//     }
//   };
//
// Field types: bool, int64_t, double, std::string, std::vector<int64_t|double|std::string>,
// std::map<std::string, double>, structs with ForEach of their own (a section), and
// std::map<std::string, S> of such a struct S (sections of any name).
#pragma once

#include <string>
#include <utility>

namespace attnlab {

namespace internal {
struct NullVisitor {
  template <class T>
  void operator()(const char*, T&, const char*) {}
};
}  // namespace internal

// A config struct: has ForEach(visitor), the visitor called as visit(name, field, help).
template <class T>
concept HasFields = requires(T& value) {
  value.ForEach(internal::NullVisitor{});
};

}  // namespace attnlab
