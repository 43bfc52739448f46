# Every third-party target that attnlab links. third_party/install puts them on the machine; third_party/README.md says why.

find_package(absl REQUIRED)
find_package(CLI11 REQUIRED)
find_package(tomlplusplus REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(spdlog REQUIRED)
find_package(OpenSSL REQUIRED COMPONENTS Crypto)
find_package(ZLIB REQUIRED)
find_package(HDF5 REQUIRED COMPONENTS C)
find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)
pkg_check_modules(PCRE2 REQUIRED IMPORTED_TARGET libpcre2-8)
pkg_check_modules(ZSTD REQUIRED IMPORTED_TARGET libzstd)
pkg_check_modules(UTF8PROC REQUIRED IMPORTED_TARGET libutf8proc)
pkg_check_modules(SENTENCEPIECE REQUIRED IMPORTED_TARGET sentencepiece)
find_package(benchmark REQUIRED)
if(ATTNLAB_TESTS)
  find_package(GTest REQUIRED)
  include(GoogleTest)
endif()

if(NOT TARGET hdf5::hdf5)
  add_library(attnlab_hdf5 INTERFACE)
  target_include_directories(attnlab_hdf5 INTERFACE ${HDF5_INCLUDE_DIRS})
  target_link_libraries(attnlab_hdf5 INTERFACE ${HDF5_LIBRARIES})
  add_library(hdf5::hdf5 ALIAS attnlab_hdf5)
endif()

# LibTorch, without its own CMake package: that one wants a CUDA toolkit even for a program that compiles no CUDA,
# fails in CMake 3.25's dialect check, and adds code-generation flags to every CUDA target.
execute_process(COMMAND ${PROJECT_SOURCE_DIR}/third_party/install --torch
  OUTPUT_VARIABLE LIBTORCH_ROOT OUTPUT_STRIP_TRAILING_WHITESPACE RESULT_VARIABLE libtorch_missing)
if(libtorch_missing)
  message(FATAL_ERROR "No LibTorch 2.11.0 found. Run third_party/install, or set Torch_DIR to one.")
endif()
message(STATUS "LibTorch: ${LIBTORCH_ROOT}")
add_library(libtorch INTERFACE)
# SYSTEM keeps warnings of its headers quiet. The two definitions turn the headers that cost 20 s a file into errors:
# a file names the operators that it uses (#include <ATen/ops/NAME.h>) or calls them as methods of at::Tensor.
target_include_directories(libtorch SYSTEM INTERFACE
  ${LIBTORCH_ROOT}/include ${LIBTORCH_ROOT}/include/torch/csrc/api/include)
target_compile_definitions(libtorch INTERFACE AT_PER_OPERATOR_HEADERS)
target_link_directories(libtorch INTERFACE ${LIBTORCH_ROOT}/lib)
target_link_libraries(libtorch INTERFACE torch_cpu c10 Threads::Threads)
if(EXISTS ${LIBTORCH_ROOT}/lib/libtorch_cuda.so)
  # Nothing refers to the CUDA library by symbol; it registers its operators when it is loaded.
  target_link_libraries(libtorch INTERFACE -Wl,--push-state,--no-as-needed torch_cuda c10_cuda -Wl,--pop-state)
endif()
target_link_options(libtorch INTERFACE "LINKER:-rpath,${LIBTORCH_ROOT}/lib")
# LibTorch's own OpenMP runtime; a second one would be a second pool of threads on the same cores.
find_library(LIBTORCH_OPENMP NAMES libgomp.so.1 gomp HINTS ${LIBTORCH_ROOT}/lib REQUIRED)
target_link_libraries(libtorch INTERFACE ${LIBTORCH_OPENMP})
add_library(libtorch::libtorch ALIAS libtorch)

# attnlab_parallel_for(FILE...): compiles files of this directory that call at::parallel_for with OpenMP. Without it
# the header's template runs on one thread and says nothing.
function(attnlab_parallel_for)
  set_source_files_properties(${ARGN} PROPERTIES COMPILE_OPTIONS -fopenmp)
endfunction()
