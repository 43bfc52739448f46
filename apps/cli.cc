#include "apps/cli.h"

#include <CLI/CLI.hpp>
#include <exception>
#include <new>

#include "absl/strings/str_cat.h"
#include "libs/core/build_info.h"
#include "libs/core/log.h"
#include "libs/core/status.h"

namespace attnlab {

struct Cli::Impl {
  CLI::App app;
};

Cli::Cli(const std::string& program, const std::string& description,
         const std::vector<std::string>& examples)
    : impl_(std::make_unique<Impl>()) {
  CLI::App& app = impl_->app;
  app.name(program);
  app.description(description);
  app.set_version_flag("--version", absl::StrCat(program, " ", BuildInfo::Get().Describe()));
  app.set_help_flag("--help", "Print this and exit");
  std::string footer;
  if (!examples.empty()) absl::StrAppend(&footer, "Examples:\n");
  for (const std::string& example : examples) absl::StrAppend(&footer, "  ", example, "\n");
  absl::StrAppend(&footer,
                  "\nExit codes: 0 done, 1 failed, 2 usage, 3 bad recipe or input, 4 a bar missed");
  app.footer(footer);
  app.get_formatter()->column_width(34);
}

Cli::~Cli() = default;

void Cli::Positional(const std::string& name, std::string& value, const std::string& help) {
  impl_->app.add_option(name, value, help)->required()->type_name("");
}
void Cli::OptionalPositional(const std::string& name, std::string& value, const std::string& help) {
  impl_->app.add_option(name, value, help)->type_name("");
}
void Cli::Positionals(const std::string& name, std::vector<std::string>& values,
                      const std::string& help) {
  impl_->app.add_option(name, values, help)->required()->type_name("");
}
void Cli::Option(const std::string& name, std::string& value, const std::string& help) {
  impl_->app.add_option("--" + name, value, help)->capture_default_str();
}
void Cli::Option(const std::string& name, int64_t& value, const std::string& help) {
  impl_->app.add_option("--" + name, value, help)->capture_default_str();
}
void Cli::Option(const std::string& name, double& value, const std::string& help) {
  impl_->app.add_option("--" + name, value, help)->capture_default_str();
}
void Cli::Repeated(const std::string& name, std::vector<std::string>& values,
                   const std::string& help) {
  impl_->app.add_option("--" + name, values, help)->expected(1)->take_all();
}
void Cli::List(const std::string& name, std::vector<std::string>& values, const std::string& help) {
  impl_->app.add_option("--" + name, values, help)->delimiter(',');
}
void Cli::Flag(const std::string& name, bool& value, const std::string& help) {
  impl_->app.add_flag("--" + name, value, help);
}

int Cli::Run(int argc, char** argv, const std::function<absl::Status()>& body) {
  try {
    impl_->app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return impl_->app.exit(error) == 0 ? kExitDone : kExitUsage;
  }
  return Guard(body);
}

int Cli::Guard(const std::function<absl::Status()>& body) {
  absl::Status status;
  try {
    status = body();
  } catch (const std::bad_alloc&) {
    status = absl::ResourceExhaustedError("out of memory; take a smaller batch or model");
  } catch (const std::exception& error) {
    // A c10::Error carries a backtrace behind its first line.
    const std::string what = error.what();
    status = absl::InternalError(what.substr(0, what.find('\n')));
  }
  if (status.ok()) return kExitDone;
  LogError(std::string(status.message()));
  return ExitCode(status);
}

}  // namespace attnlab
