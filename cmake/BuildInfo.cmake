# cmake -DSOURCE=... -DOUT=... -DVERSION=... -DBUILD_TYPE=... -P BuildInfo.cmake: writes OUT when it changed.
execute_process(COMMAND git -C ${SOURCE} rev-parse HEAD OUTPUT_VARIABLE commit OUTPUT_STRIP_TRAILING_WHITESPACE
  RESULT_VARIABLE failed ERROR_QUIET)
if(failed)
  set(commit unknown)
endif()
execute_process(COMMAND git -C ${SOURCE} status --porcelain --untracked-files=no OUTPUT_VARIABLE changes ERROR_QUIET)
set(dirty false)
if(changes)
  set(dirty true)
endif()
file(CONFIGURE OUTPUT ${OUT} CONTENT [[#define ATTNLAB_VERSION "@VERSION@"
#define ATTNLAB_GIT_COMMIT "@commit@"
#define ATTNLAB_GIT_DIRTY @dirty@
#define ATTNLAB_BUILD_TYPE "@BUILD_TYPE@"
]] @ONLY)
