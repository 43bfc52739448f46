#include <filesystem>
#include <system_error>

#include "libs/core/files.h"
#include "libs/core/status.h"
#include "libs/report/report.h"

namespace attnlab {

absl::StatusOr<WrittenReport> WriteReport(const std::vector<std::string>& runs,
                                          const std::string& bars, const std::string& out,
                                          const std::string& published) {
  if (runs.empty()) return absl::InvalidArgumentError("name at least one run");
  Bars all;
  if (!bars.empty()) {
    ATTNLAB_ASSIGN_OR_RETURN(all, LoadBars(bars));
  }
  Published figures;
  if (!published.empty()) {
    ATTNLAB_ASSIGN_OR_RETURN(figures, LoadPublished(published));
  }
  ATTNLAB_ASSIGN_OR_RETURN(const RunSet set, LoadRuns(runs));
  WrittenReport report{out + "/report.md", out + "/report.html", JudgeBars(all, set)};
  const Document document = MakeDocument(set, report.verdicts, figures);
  ATTNLAB_ASSIGN_OR_RETURN(const std::string html, RenderHtml(document));
  std::error_code error;
  std::filesystem::create_directories(out, error);
  if (error) return ErrnoStatus(error.value(), "create folder", out);
  ATTNLAB_RETURN_IF_ERROR(WriteFileAtomically(report.markdown, RenderMarkdown(document)));
  ATTNLAB_RETURN_IF_ERROR(WriteFileAtomically(report.html, html));
  return report;
}

}  // namespace attnlab
