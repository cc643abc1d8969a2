#include "common/file.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/tool.h"
#include "common/ckpt_folder.h"

static bool
is_standard(const char *path)
{
	return path == NULL || strcmp(path, "-") == 0;
}

static int
standard_input(enum file_kind kind, const struct source_opts *opts, struct source **out, struct err *err)
{
	static bool taken;

	if (taken)
		return err_set(err, ERR_USAGE, "standard input is named twice");
	if (kind == FILE_BINARY && isatty(STDIN_FILENO))
		return err_set(err, ERR_USAGE, "checkpoint bytes are not read from a terminal: name a file, or see '%s --help'",
			       tool_name());
	taken = true;
	return source_fd(out, STDIN_FILENO, "standard input", opts, err);
}

int
file_input(const char *operand, enum file_kind kind, struct source **out, struct err *err)
{
	struct source_opts opts = { getenv("TMPDIR"), tool_diag(), 0 };

	*out = NULL;
	if (operand != NULL && operand[0] == '\0')
		return err_set(err, ERR_USAGE, "an empty file name: '-' is standard input");
	if (is_standard(operand))
		return standard_input(kind, &opts, out, err);
	if (strstr(operand, "://") != NULL && access(operand, F_OK) != 0)
		return err_set(err, ERR_USAGE, "%s: nothing is downloaded; fetch the file and name it", operand);
	return source_open(out, operand, &opts, err);
}

int
file_checkpoint(const char *operand, enum file_kind kind, struct source **out, struct err *err)
{
	struct source_opts opts = { getenv("TMPDIR"), tool_diag(), 0 };
	struct stat st;

	if (!is_standard(operand) && stat(operand, &st) == 0 && S_ISDIR(st.st_mode))
		return ckpt_folder_open(out, operand, &opts, tool_diag(), err);
	if (!is_standard(operand) && tool_joins_ranks()) {
		if (ckpt_ranks_open(out, operand, tool_diag(), err) < 0 || *out != NULL)
			return *out == NULL ? -1 : 0;
		if (kind == FILE_BINARY)
			tool_warn("--ranks: %s has no rank_N in its name, so it is read without other files", operand);
	}
	return file_input(operand, kind, out, err);
}

int
file_operands(const char *const *operands, size_t n, const char *output, struct err *err)
{
	struct stat out, in;
	const bool regular = is_standard(output) && fstat(STDOUT_FILENO, &out) == 0 && S_ISREG(out.st_mode);
	size_t standard = 0;

	for (size_t i = 0; i < n || i == 0; i++) {
		const char *name = n > 0 ? operands[i] : NULL;

		if (is_standard(name))
			standard++;
		if (regular && (is_standard(name) ? fstat(STDIN_FILENO, &in) : stat(name, &in)) == 0 && in.st_dev == out.st_dev &&
		    in.st_ino == out.st_ino)
			return err_set(err, ERR_USAGE, "%s: input file is output file: use '-o FILE'",
				       is_standard(name) ? "standard input" : name);
	}
	if (standard > 1)
		return err_set(err, ERR_USAGE, "standard input is named twice");
	return 0;
}

static int
standard_output(enum file_kind kind, struct source *const *inputs, size_t n, struct sink **out, struct err *err)
{
	struct stat st;

	if (kind == FILE_BINARY && isatty(STDOUT_FILENO))
		return err_set(err, ERR_USAGE, "checkpoint bytes are not written to a terminal: use '-o FILE' or a pipe");
	if (fstat(STDOUT_FILENO, &st) == 0 && S_ISREG(st.st_mode)) {
		for (size_t i = 0; i < n; i++)
			if (source_is_file(inputs[i], st.st_dev, st.st_ino))
				return err_set(err, ERR_USAGE, "%s: input file is output file: use '-o FILE'",
					       source_name(inputs[i]));
	}
	return sink_fd(out, STDOUT_FILENO, "standard output", err);
}

static bool
is_terminal(const char *path)
{
	struct stat st;
	bool is = false;
	int fd;

	if (stat(path, &st) == 0 && S_ISCHR(st.st_mode)) {
		fd = open(path, O_WRONLY | O_NOCTTY | O_CLOEXEC);
		is = fd >= 0 && isatty(fd);
		if (fd >= 0)
			close(fd);
	}
	return is;
}

int
file_output(const char *path, enum file_kind kind, struct source *const *inputs, size_t n, struct sink **out, struct err *err)
{
	*out = NULL;
	if (path != NULL && path[0] == '\0')
		return err_set(err, ERR_USAGE, "an empty file name: '-' is standard output");
	if (is_standard(path))
		return standard_output(kind, inputs, n, out, err);
	if (kind == FILE_BINARY && is_terminal(path))
		return err_set(err, ERR_USAGE, "%s: checkpoint bytes are not written to a terminal", path);
	return sink_file(out, path, err);
}

int
file_text(const char *operand, uint64_t most, struct buf *text, struct err *err)
{
	struct source *s;
	int rc;

	if (file_input(operand, FILE_TEXT, &s, err) < 0)
		return -1;
	buf_clear(text);
	rc = source_slurp(s, most, text, err);
	if (rc > 0)
		rc = err_input(err, source_name(s), "is longer than %llu bytes, so it is probably the wrong file",
			       (unsigned long long)most);
	source_close(s);
	return rc;
}

int
file_end(struct sink *out, int rc, struct err *err)
{
	if (rc == 0)
		return sink_commit(out, err);
	sink_abort(out);
	return rc;
}

int
file_write(const char *path, struct str text, struct err *err)
{
	struct sink *out;

	if (file_output(path, FILE_TEXT, NULL, 0, &out, err) != 0)
		return -1;
	return file_end(out, sink_write(out, text.p, text.len, err), err);
}
