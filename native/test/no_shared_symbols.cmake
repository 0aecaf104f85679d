# Fails if an object file of one instruction set offers a weak function that other object files may share: the linker keeps
# one copy of those, and it could be the one that needs AVX-512.
foreach(object ${OBJECTS})
  # The list holds one instruction set; the others differ in the folder only.
  foreach(isa baseline avx2 avx512)
    string(REPLACE "versemi_baseline" "versemi_${isa}" file ${object})
    if(EXISTS ${file})
      execute_process(COMMAND ${NM} -C ${file} OUTPUT_VARIABLE symbols RESULT_VARIABLE result)
      if(NOT result EQUAL 0)
        message(FATAL_ERROR "${NM} failed on ${file}")
      endif()
      string(REGEX MATCHALL "[^\n]+ [WVu] [^\n]+" weak "${symbols}")
      foreach(symbol ${weak})
        # Names that carry the instruction set (a namespace or a local type of it) cannot clash; ABI markers hold no code.
        if(NOT symbol MATCHES "versemi::${isa}::" AND NOT symbol MATCHES "DW\\.ref|typeinfo")
          message(FATAL_ERROR "${file} shares: ${symbol}")
        endif()
      endforeach()
    endif()
  endforeach()
endforeach()
