# cmake --install DIR: bin/trireme, lib/libtrireme.so and the headers. LibTorch stays where it is and is found there;
# `make dist` makes a tar that holds it too.
include(GNUInstallDirs)
foreach(target trireme trireme_cli)
  if(TARGET ${target})
    set_target_properties(${target} PROPERTIES INSTALL_RPATH "$ORIGIN/../lib;${TRIREME_LIBTORCH_ROOT}/lib")
    install(TARGETS ${target} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
  endif()
endforeach()
install(DIRECTORY trireme DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h")
