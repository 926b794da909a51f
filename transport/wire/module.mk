libdecant_srcs += \
	transport/wire/cursor.c \
	transport/wire/handover.c \
	transport/wire/header.c \
	transport/wire/memory.c \
	transport/wire/session.c \
	transport/wire/state.c
