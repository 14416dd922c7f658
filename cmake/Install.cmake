# cmake --install: the program, the library with its headers, and the package that find_package(trireme) reads.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)
set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/trireme)
set_target_properties(trireme PROPERTIES INSTALL_RPATH "$ORIGIN;${TRIREME_LIBTORCH_ROOT}/lib")
set_target_properties(trireme_cli PROPERTIES
  INSTALL_RPATH "$ORIGIN/../${CMAKE_INSTALL_LIBDIR};${TRIREME_LIBTORCH_ROOT}/lib")
install(TARGETS trireme trireme_cli
  RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY ${CMAKE_SOURCE_DIR}/trireme DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
  FILES_MATCHING PATTERN "*.h" PATTERN cli EXCLUDE)
# An object, not a member of an archive: see trireme/device/mkl_answer.cc.
install(FILES $<TARGET_OBJECTS:trireme_mkl_answer> DESTINATION ${CMAKE_INSTALL_LIBDIR}/trireme RENAME mkl_answer.o)
install(DIRECTORY ${CMAKE_SOURCE_DIR}/examples DESTINATION ${CMAKE_INSTALL_DATADIR}/trireme)
install(FILES ${CMAKE_SOURCE_DIR}/LICENSE DESTINATION ${CMAKE_INSTALL_DATADIR}/trireme)

configure_package_config_file(${CMAKE_SOURCE_DIR}/cmake/triremeConfig.cmake.in
  ${CMAKE_BINARY_DIR}/generated/triremeConfig.cmake INSTALL_DESTINATION ${package_dir}
  PATH_VARS CMAKE_INSTALL_INCLUDEDIR CMAKE_INSTALL_LIBDIR)
write_basic_package_version_file(${CMAKE_BINARY_DIR}/generated/triremeConfigVersion.cmake
  COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/generated/triremeConfig.cmake
              ${CMAKE_BINARY_DIR}/generated/triremeConfigVersion.cmake ${CMAKE_SOURCE_DIR}/cmake/LibTorch.cmake
        DESTINATION ${package_dir})
