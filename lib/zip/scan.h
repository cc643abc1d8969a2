/*
 * zip_scan: lists what is left of an archive that is cut off or whose directory is damaged. Searches the whole input for local
 * headers and data descriptors.
 */
#ifndef LNN_ZIP_SCAN_H
#define LNN_ZIP_SCAN_H

#include "zip/directory.h"

/*
 * Fills d with the records of one folder, that of the first record, in the order of the input. If neither header nor descriptor
 * tells where a record ends, it extends to the next record or to the end of the input, and has no CRC. Fails with ERR_INPUT if
 * there is no record. The caller must call zip_release in any case.
 */
int zip_scan(struct zip_dir *d, struct source *src, struct err *e);

#endif
