/*
 * Compares the names of element types with the tables of lib/format/README.md, section 9.
 */
#include "tensor/dtype.h"

#include "tap.h"

static const struct {
	const char *name, *storage, *safetensors, *numpy;
	unsigned size;
} rows[] = {
	{ "float64", "DoubleStorage", "F64", "<f8", 8 },
	{ "float32", "FloatStorage", "F32", "<f4", 4 },
	{ "float16", "HalfStorage", "F16", "<f2", 2 },
	{ "bfloat16", "BFloat16Storage", "BF16", NULL, 2 },
	{ "int64", "LongStorage", "I64", "<i8", 8 },
	{ "int32", "IntStorage", "I32", "<i4", 4 },
	{ "int16", "ShortStorage", "I16", "<i2", 2 },
	{ "int8", "CharStorage", "I8", "|i1", 1 },
	{ "uint8", "ByteStorage", "U8", "|u1", 1 },
	{ "bool", "BoolStorage", "BOOL", "|b1", 1 },
	{ "complex64", "ComplexFloatStorage", "C64", "<c8", 8 },
	{ "complex128", "ComplexDoubleStorage", NULL, "<c16", 16 },
	{ "complex32", NULL, NULL, NULL, 4 },
	{ "qint8", "QInt8Storage", NULL, "|i1", 1 },
	{ "quint8", "QUInt8Storage", NULL, "|u1", 1 },
	{ "qint32", "QInt32Storage", NULL, "<i4", 4 },
	{ "quint4x2", "QUInt4x2Storage", NULL, "|u1", 1 },
	{ "quint2x4", "QUInt2x4Storage", NULL, "|u1", 1 },
	{ "uint16", NULL, "U16", "<u2", 2 },
	{ "uint32", NULL, "U32", "<u4", 4 },
	{ "uint64", NULL, "U64", "<u8", 8 },
	{ "float8_e4m3fn", NULL, "F8_E4M3", NULL, 1 },
	{ "float8_e5m2", NULL, "F8_E5M2", NULL, 1 },
	{ "float8_e4m3fnuz", NULL, "F8_E4M3FNUZ", NULL, 1 },
	{ "float8_e5m2fnuz", NULL, "F8_E5M2FNUZ", NULL, 1 },
	{ "float8_e8m0fnu", NULL, "F8_E8M0", NULL, 1 },
	{ "float4_e2m1fn_x2", NULL, "F4", NULL, 1 },
	{ "float6_e2m3", NULL, "F6_E2M3", NULL, 0 },
	{ "float6_e3m2", NULL, "F6_E3M2", NULL, 0 },
	{ "bits8", NULL, NULL, NULL, 1 },
	{ "bits16", NULL, NULL, NULL, 2 },
	{ "bits1x8", NULL, NULL, NULL, 1 },
	{ "bits2x4", NULL, NULL, NULL, 1 },
	{ "bits4x2", NULL, NULL, NULL, 1 },
};
#define ROWS (sizeof(rows) / sizeof(rows[0]))

static bool
same(const char *a, const char *b)
{
	return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

int
main(void)
{
	static const char *const none[] = { "", "float", "Float32", "torch.float32", "F32", "FloatStorage", "unknown", "int4" };
	uint64_t bytes = 0;

	is_uint(ROWS, DTYPE_COUNT - 1, "there are as many types as in the tables");
	for (size_t i = 0; i < ROWS; i++) {
		enum dtype t = dtype_by_name(str_c(rows[i].name));
		const struct dtype_info *info = dtype_info(t);
		bool good = t != DTYPE_UNKNOWN && same(info->storage, rows[i].storage) && same(info->numpy, rows[i].numpy) &&
			    same(info->safetensors, rows[i].safetensors) && dtype_size(t) == rows[i].size;

		good = good && (!info->storage || dtype_by_storage(str_c(info->storage)) == t);
		good = good && (!info->safetensors || dtype_by_safetensors(str_c(info->safetensors)) == t);
		good = good && (info->size == 0 || info->bits == 8 * info->size);
		good = good && dtype_is_float(t) == (strstr(rows[i].name, "float") != NULL);
		good = good && same(dtype_name(t), rows[i].name);
		ok_msg(good, "%s", rows[i].name);
	}
	for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++)
		ok_msg(dtype_by_name(str_c(none[i])) == DTYPE_UNKNOWN, "\"%s\" is not the name of a type", none[i]);
	ok(dtype_by_storage(str_c("UntypedStorage")) == DTYPE_UNKNOWN);
	ok(dtype_by_safetensors(str_c("f32")) == DTYPE_UNKNOWN);
	is_str(dtype_name((enum dtype)1000), "unknown", "a number outside the enum has the name \"unknown\"");
	ok(dtype_bytes(DTYPE_FLOAT32, 10, &bytes) && bytes == 40);
	ok(dtype_bytes(DTYPE_FLOAT6_E2M3, 4, &bytes) && bytes == 3);
	ok(dtype_bytes(DTYPE_FLOAT6_E2M3, 0, &bytes) && bytes == 0);
	ok(!dtype_bytes(DTYPE_FLOAT6_E2M3, 5, &bytes));
	ok(!dtype_bytes(DTYPE_COMPLEX128, UINT64_MAX / 8, &bytes));
	ok(!dtype_bytes(DTYPE_UNKNOWN, 1, &bytes));
	return tap_done();
}
