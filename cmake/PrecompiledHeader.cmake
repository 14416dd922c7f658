# The precompiled header: one for all targets that use LibTorch. ATen alone: <torch/torch.h> (modules, optimisers,
# data loaders) leaves templates that every file that reads the header then instantiates, 4 s each.
file(WRITE ${CMAKE_BINARY_DIR}/pch.cc.in "// carries the precompiled header\n")
configure_file(${CMAKE_BINARY_DIR}/pch.cc.in ${CMAKE_BINARY_DIR}/pch.cc COPYONLY)
add_library(trireme_pch OBJECT ${CMAKE_BINARY_DIR}/pch.cc)
target_link_libraries(trireme_pch PUBLIC trireme_libtorch nlohmann_json::nlohmann_json Threads::Threads)
target_precompile_headers(trireme_pch PRIVATE <ATen/ATen.h> <nlohmann/json.hpp> <string> <vector> <memory>
  <map> <unordered_map> <functional> <optional> <span> <algorithm> <filesystem>)
