/* Instances that ended well, put back to how they began: see spares.c. All of it is called with the GIL held. */
#include <stdbool.h>
#include <stdint.h>

struct frame;
struct spares;

/* For instances like the one in the frame, which is fresh, and whose exports were found. NULL: it does not export its stack's
 * pointer, or the kernel can't say which pages were written, or there is no memory. */
struct spares *spares_new(struct frame *frame);
/* Deletes those that are kept. No guest may have it any more. */
void spares_delete(struct spares *spares);

/* Puts one into the frame, with its store, of those whose memory is not more than `memory_bytes`: one that the worker of the
 * frame had before, or another. False: a new one is to be made. */
bool spares_take(struct spares *spares, struct frame *frame, int64_t memory_bytes);
/* Puts the instance of the frame back to how it began, and keeps it; false: it is to be deleted. */
bool spares_keep(struct spares *spares, struct frame *frame);
/* Deletes all that are kept, whosever they are: their slots are wanted. How many there were. */
unsigned spares_let_go(void);
