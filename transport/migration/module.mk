# SPDX-License-Identifier: BSD-2-Clause
libdecant_srcs += \
	transport/migration/auth.c \
	transport/migration/damage.c \
	transport/migration/extents.c \
	transport/migration/fate.c \
	transport/migration/first_pass.c \
	transport/migration/forecast.c \
	transport/migration/granules.c \
	transport/migration/greeter.c \
	transport/migration/handover.c \
	transport/migration/handshake.c \
	transport/migration/host.c \
	transport/migration/incoming.c \
	transport/migration/incoming_session.c \
	transport/migration/landing.c \
	transport/migration/limit.c \
	transport/migration/memory.c \
	transport/migration/memory_populate.c \
	transport/migration/migration.c \
	transport/migration/mover.c \
	transport/migration/mover_epoch.c \
	transport/migration/mover_map.c \
	transport/migration/pagehash.c \
	transport/migration/peer.c \
	transport/migration/populate.c \
	transport/migration/precopy.c \
	transport/migration/rails.c \
	transport/migration/receiver.c \
	transport/migration/resident.c \
	transport/migration/route.c \
	transport/migration/session_slot.c \
	transport/migration/settle.c \
	transport/migration/switchover.c \
	transport/migration/takeover.c \
	transport/migration/verify.c \
	transport/migration/zero.c \
	transport/migration/zero_look.c
