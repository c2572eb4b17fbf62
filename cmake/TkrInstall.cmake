# SPDX-License-Identifier: Apache-2.0
# What `cmake --install` puts where; also the man page and completions, which the program writes from its option table.
include(CMakePackageConfigHelpers)

if(TARGET tkr-embed AND NOT CMAKE_CROSSCOMPILING)
    foreach(kind IN ITEMS man bash zsh)
        set(page ${PROJECT_BINARY_DIR}/share/tkr-embed.${kind})
        add_custom_command(OUTPUT ${page} DEPENDS tkr-embed VERBATIM
            COMMAND ${CMAKE_COMMAND} -E make_directory ${PROJECT_BINARY_DIR}/share
            COMMAND tkr-embed --generate ${kind} > ${page})
        list(APPEND pages ${page})
    endforeach()
    add_custom_target(tkr_pages ALL DEPENDS ${pages})
    install(FILES ${PROJECT_BINARY_DIR}/share/tkr-embed.man DESTINATION ${CMAKE_INSTALL_MANDIR}/man1
        RENAME tkr-embed.1)
    install(FILES ${PROJECT_BINARY_DIR}/share/tkr-embed.bash RENAME tkr-embed
        DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
    install(FILES ${PROJECT_BINARY_DIR}/share/tkr-embed.zsh RENAME _tkr-embed
        DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/site-functions)
endif()
if(TARGET tkr-embed)
    install(TARGETS tkr-embed RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()

install(TARGETS tkr_shared EXPORT tkrShared
    LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(TARGETS tkr_static EXPORT tkrStatic
    ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(FILES ${PROJECT_SOURCE_DIR}/include/tkr/embed.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/tkr)
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})

set(package ${CMAKE_INSTALL_LIBDIR}/cmake/tkr)
install(EXPORT tkrShared NAMESPACE tkr:: DESTINATION ${package} FILE tkrSharedTargets.cmake)
install(EXPORT tkrStatic NAMESPACE tkr:: DESTINATION ${package} FILE tkrStaticTargets.cmake)
configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/tkrConfig.cmake.in ${PROJECT_BINARY_DIR}/tkrConfig.cmake
    INSTALL_DESTINATION ${package})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/tkrConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/tkrConfig.cmake ${PROJECT_BINARY_DIR}/tkrConfigVersion.cmake DESTINATION ${package})

# tkr.pc is written at install time, so that `cmake --install --prefix` is honoured.
install(CODE "
    set(PROJECT_DESCRIPTION \"${PROJECT_DESCRIPTION}\")
    set(PROJECT_VERSION ${PROJECT_VERSION})
    cmake_path(ABSOLUTE_PATH CMAKE_INSTALL_PREFIX NORMALIZE)
    foreach(kind IN ITEMS LIBDIR INCLUDEDIR)
        if(kind STREQUAL LIBDIR)
            set(folder \"${CMAKE_INSTALL_LIBDIR}\")
        else()
            set(folder \"${CMAKE_INSTALL_INCLUDEDIR}\")
        endif()
        if(IS_ABSOLUTE \"\${folder}\")
            set(TKR_PC_\${kind} \"\${folder}\")
        else()
            set(TKR_PC_\${kind} \"\\\${prefix}/\${folder}\")
        endif()
    endforeach()
    configure_file(\"${PROJECT_SOURCE_DIR}/cmake/tkr.pc.in\" \"${PROJECT_BINARY_DIR}/tkr.pc\" @ONLY)
")
install(FILES ${PROJECT_BINARY_DIR}/tkr.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
