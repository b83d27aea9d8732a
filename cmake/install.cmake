# Installed files land with `make install PREFIX=`; see also the pkg-config and CMake package files beside this one.
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/mep DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
