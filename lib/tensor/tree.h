/*
 * tree: where the tensors are in the value tree of a checkpoint. A container is a dict, a list or a tuple, or the one
 * that an object of a subclass of these carries, or that stands for a module.
 */
#ifndef LNN_TENSOR_TREE_H
#define LNN_TENSOR_TREE_H

#include "base/buf.h"
#include "tensor/ckpt.h"

/* What is known of a node of the tree. A container is TREE_OPEN while it is being searched, which ends cycles. */
enum tree_mark { TREE_UNSEEN, TREE_OPEN, TREE_WITHOUT, TREE_WITH };

struct tensor_tree {
	const struct ckpt *ckpt;
	const struct vtree *t; /* of ckpt */
	const char *file;      /* for messages; borrowed */
	uint32_t root;
	uint32_t nodes;
	uint8_t *seen; /* by node: enum tree_mark */
};

/* c has a tree. The tree must not grow while it is searched. */
void tree_init(struct tensor_tree *tree, const struct ckpt *c);
void tree_release(struct tensor_tree *tree); /* of a zeroed struct tensor_tree, too */

/* The container that h is or carries, or VALUE_ABSENT. */
uint32_t tree_container(const struct vtree *t, uint32_t h);

/* True if h is a module of a TorchScript archive, whose container has its attributes: tensors, modules, and others. */
bool tree_is_script(const struct vtree *t, uint32_t h);

/* True of these, and of a pickled nn.Module: its tensors have the names that modules in modules give them. */
bool tree_is_module(const struct vtree *t, uint32_t h);

/* Item i of a dict (its value), list or tuple. */
uint32_t tree_child(const struct vtree *t, uint32_t container, size_t i);

bool tree_is_tensor(const struct vtree *t, uint32_t h, uint32_t *index);

/* True if h is a call that makes a tensor from other tensors (sparse, nested, ...) and stayed an object. */
bool tree_is_composite(const struct vtree *t, uint32_t h);

/*
 * 1 if h is a tensor or contains one at any depth, 0 if not, -1 if containers are nested too deeply. Marks all
 * containers below h.
 */
int tree_holds(struct tensor_tree *tree, uint32_t h, struct err *err);

/* The container of h if tree_holds found tensors in it, else VALUE_ABSENT (also while the container is TREE_OPEN). */
uint32_t tree_holder(const struct tensor_tree *tree, uint32_t h);

/* Appends the key of item i, as a component of a dotted path. A key that is no text is written as Python would. */
void tree_put_key(struct buf *b, const struct vtree *t, uint32_t container, size_t i);

#endif
