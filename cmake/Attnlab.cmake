# Compiler settings and the three kinds of target that attnlab has.

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/bin)
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release)
endif()
set(CMAKE_CXX_FLAGS_RELEASE "-O3 -g1")

find_program(CCACHE_PROGRAM ccache)
if(CCACHE_PROGRAM)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CCACHE_PROGRAM})
endif()
find_program(MOLD_PROGRAM mold)
if(MOLD_PROGRAM)
  add_link_options(-fuse-ld=mold)
endif()
if(ATTNLAB_SANITIZE)
  add_compile_options(-fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer)
  add_link_options(-fsanitize=address,undefined)
endif()

add_library(attnlab_options INTERFACE)
target_include_directories(attnlab_options INTERFACE ${PROJECT_SOURCE_DIR} ${PROJECT_BINARY_DIR}/generated)
target_compile_options(attnlab_options INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wno-unused-parameter -Wno-restrict -Wno-missing-field-initializers>
  $<$<AND:$<BOOL:${ATTNLAB_WARNINGS_AS_ERRORS}>,$<COMPILE_LANGUAGE:CXX>>:-Werror>)

# Stops the configure when DEPS of `target` name an attnlab library that is not in a lower layer.
function(attnlab_check_layers target layer)
  foreach(dep IN LISTS ARGN)
    if(TARGET ${dep})
      get_target_property(real ${dep} ALIASED_TARGET)
      if(real)
        get_target_property(dep_layer ${real} ATTNLAB_LAYER)
        if(NOT dep_layer MATCHES "NOTFOUND" AND NOT dep_layer LESS layer)
          message(FATAL_ERROR "${target} (layer ${layer}) may not depend on ${dep} (layer ${dep_layer}): "
            "dependencies point strictly down (docs/architecture.md)")
        endif()
      endif()
    elseif(dep MATCHES "^attnlab::")
      message(FATAL_ERROR "${target} depends on ${dep}, which no earlier directory defines")
    endif()
  endforeach()
endfunction()

# attnlab_library(NAME core LAYER 1 SRCS a.cc b.cc DEPS absl::status ...)  ->  attnlab::core
# Headers need no mention. A library without SRCS is header-only.
function(attnlab_library)
  cmake_parse_arguments(ARG "" "NAME;LAYER" "SRCS;DEPS" ${ARGN})
  set(target attnlab_${ARG_NAME})
  attnlab_check_layers(${target} ${ARG_LAYER} ${ARG_DEPS})
  if(ARG_SRCS)
    add_library(${target} STATIC ${ARG_SRCS})
    target_link_libraries(${target} PUBLIC attnlab_options ${ARG_DEPS})
  else()
    add_library(${target} INTERFACE)
    target_link_libraries(${target} INTERFACE attnlab_options ${ARG_DEPS})
  endif()
  set_target_properties(${target} PROPERTIES ATTNLAB_LAYER ${ARG_LAYER})
  add_library(attnlab::${ARG_NAME} ALIAS ${target})
endfunction()

# attnlab_program(NAME train SRCS main.cc DEPS ...)  ->  BUILD/bin/train
function(attnlab_program)
  cmake_parse_arguments(ARG "" "NAME" "SRCS;DEPS" ${ARGN})
  add_executable(attnlab_program_${ARG_NAME} ${ARG_SRCS})
  set_target_properties(attnlab_program_${ARG_NAME} PROPERTIES OUTPUT_NAME ${ARG_NAME})
  target_link_libraries(attnlab_program_${ARG_NAME} PRIVATE attnlab_options ${ARG_DEPS})
endfunction()

# attnlab_test(NAME core SRCS a_test.cc DEPS attnlab::core [LABELS gpu] [TIMEOUT 300])  ->  BUILD/bin/core_test
# Tests run in the build tree's root; fixtures are found through the compile definition ATTNLAB_SOURCE_DIR.
function(attnlab_test)
  cmake_parse_arguments(ARG "" "NAME;TIMEOUT" "SRCS;DEPS;LABELS" ${ARGN})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 300)
  endif()
  add_executable(${ARG_NAME}_test ${ARG_SRCS})
  target_link_libraries(${ARG_NAME}_test PRIVATE attnlab_options ${ARG_DEPS} GTest::gmock GTest::gtest_main)
  target_compile_definitions(${ARG_NAME}_test PRIVATE
    ATTNLAB_SOURCE_DIR="${PROJECT_SOURCE_DIR}" ATTNLAB_BINARY_DIR="${PROJECT_BINARY_DIR}")
  gtest_discover_tests(${ARG_NAME}_test DISCOVERY_TIMEOUT 60
    WORKING_DIRECTORY ${PROJECT_BINARY_DIR}
    PROPERTIES TIMEOUT ${ARG_TIMEOUT} LABELS "${ARG_LABELS}")
endfunction()
