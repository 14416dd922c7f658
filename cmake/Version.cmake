# trireme/base/version.h's build facts: the commit, for --version and reports. Taken at every build, so that it is
# never the commit of an earlier configure; the file is rewritten only when it changes.
add_custom_target(trireme_version
  COMMAND ${CMAKE_COMMAND} -DOUT=${CMAKE_BINARY_DIR}/generated/build_info.h -DSRC=${CMAKE_SOURCE_DIR}
          -DVERSION=${PROJECT_VERSION} -P ${CMAKE_SOURCE_DIR}/cmake/WriteBuildInfo.cmake
  BYPRODUCTS ${CMAKE_BINARY_DIR}/generated/build_info.h)
