/*
 * zip_scan: what is left of an archive that is cut off, or whose directory is damaged. The whole input is looked through for
 * local headers and data descriptors.
 */
#ifndef LNN_ZIP_SCAN_H
#define LNN_ZIP_SCAN_H

#include "zip/directory.h"

/*
 * Fills d with the records of one folder, that of the first record, in the order of the input. Where neither header nor
 * descriptor says where a record ends, it reaches to what follows, or to the end of the input, and has no CRC.
 * ERR_INPUT if there is no record. zip_release is due in either case.
 */
int zip_scan(struct zip_dir *d, struct source *src, struct err *e);

#endif
