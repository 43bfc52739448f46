# Writes OUTPUT: a C++ file that holds the texts of FILES (relative to ROOT, separated by |) for device_sources.h.
# Standard headers that NVRTC lacks come from kernels/cuda/device/std and go by their own names.
string(REPLACE "|" ";" files "${FILES}")
set(entries "")
set(all "")
foreach(file IN LISTS files)
  file(READ ${ROOT}/${file} text)
  string(REPLACE "kernels/cuda/device/std/" "" name ${file})
  string(APPEND entries "    {\"${name}\", R\"~source~(${text})~source~\"},\n")
  string(APPEND all "${text}")
endforeach()
string(SHA256 hash "${all}")
file(WRITE ${OUTPUT} "#include \"kernels/cuda/device_sources.h\"

namespace attnlab::cuda {

std::span<const DeviceSource> DeviceSources() {
  static const DeviceSource sources[] = {
${entries}  };
  return sources;
}

const char* DeviceSourcesHash() { return \"${hash}\"; }

}  // namespace attnlab::cuda
")
