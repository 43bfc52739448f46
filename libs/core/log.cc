#include "libs/core/log.h"

#include <memory>

#include "spdlog/sinks/stdout_color_sinks.h"
#include "spdlog/spdlog.h"

namespace attnlab {
namespace {

spdlog::logger& Logger() {
  static const std::shared_ptr<spdlog::logger> logger = [] {
    auto made = std::make_shared<spdlog::logger>(
        "attnlab", std::make_shared<spdlog::sinks::stderr_color_sink_mt>());
    made->set_pattern("%H:%M:%S %^%L%$ %v");
    made->flush_on(spdlog::level::info);
    return made;
  }();
  return *logger;
}

}  // namespace

void LogInfo(const std::string& message) { Logger().info("{}", message); }
void LogWarning(const std::string& message) { Logger().warn("{}", message); }
void LogError(const std::string& message) { Logger().error("{}", message); }
void SetLogQuiet(bool quiet) {
  Logger().set_level(quiet ? spdlog::level::warn : spdlog::level::info);
}

}  // namespace attnlab
