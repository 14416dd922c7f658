# LibTorch without its own CMake files (those of the wheel pull in CUDA and protobuf targets): headers,
# libtorch_cpu and libc10, and nothing else. TRIREME_LIBTORCH points at another LibTorch than TRIREME_LIBTORCH_DEFAULT.
# Used by the build and by the installed package.
set(_root ${TRIREME_LIBTORCH})
if(NOT _root)
  set(_root ${TRIREME_LIBTORCH_DEFAULT})
endif()
get_filename_component(_root ${_root} ABSOLUTE)
foreach(_file include/torch/csrc/api/include/torch/torch.h lib/libtorch_cpu.so lib/libc10.so)
  if(NOT EXISTS ${_root}/${_file})
    message(FATAL_ERROR "No LibTorch in ${_root} (${_file} is missing). Give -DTRIREME_LIBTORCH=DIR${TRIREME_LIBTORCH_HINT}.")
  endif()
endforeach()
set(TRIREME_LIBTORCH_ROOT ${_root})
find_package(OpenMP REQUIRED COMPONENTS CXX)

add_library(trireme_libtorch INTERFACE)
target_include_directories(trireme_libtorch SYSTEM INTERFACE
  ${_root}/include ${_root}/include/torch/csrc/api/include)
target_compile_definitions(trireme_libtorch INTERFACE USE_DISTRIBUTED USE_C10D_GLOO FMT_HEADER_ONLY)
# at::parallel_for is serial without it: so it is under the thread sanitizer, which does not see libgomp's barriers and
# takes every parallel loop for a race.
if(NOT TRIREME_SANITIZE MATCHES "thread")
  target_compile_options(trireme_libtorch INTERFACE -fopenmp)
endif()
# The wheel's own libgomp, so that one OpenMP runtime is mapped.
file(GLOB _gomp ${_root}/lib/libgomp*.so*)
if(NOT _gomp)
  set(_gomp OpenMP::OpenMP_CXX)
endif()
target_link_libraries(trireme_libtorch INTERFACE
  -Wl,--no-as-needed ${_root}/lib/libtorch_cpu.so ${_root}/lib/libc10.so ${_gomp} -Wl,--as-needed)
target_link_options(trireme_libtorch INTERFACE
  -Wl,--disable-new-dtags -Wl,--allow-shlib-undefined -Wl,-rpath,${_root}/lib)
