/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bt_decode.h - one guest instruction as the translator wants it: what class of treatment it gets, which general
 * registers and flags it uses, and where the parts of its encoding lie.
 */
#ifndef HV_BT_DECODE_H
#define HV_BT_DECODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum bt_class {
	BC_SKIP,            /* no effect here: nop, endbr64, prefetch */
	BC_VERBATIM,        /* registers only: the bytes are copied */
	BC_MEM,             /* one explicit memory operand through ModRM */
	BC_BIT,             /* bt, bts, btr, btc memory,register: the register extends the address */
	BC_RDTSC,
	BC_READ_SEG,        /* mov of a segment register, imm, to a general one */
	BC_LEA_RIP,         /* lea of a rip-relative address: a constant */
	BC_JMP, BC_JCC, BC_CALL,            /* relative */
	BC_LOOP,            /* jrcxz, loop, loopcc */
	BC_JMP_REG, BC_JMP_MEM, BC_CALL_REG, BC_CALL_MEM, BC_RET,
	BC_PUSH_REG, BC_PUSH_IMM, BC_PUSH_MEM, BC_POP_REG, BC_LEAVE,
	BC_SYSCALL,
	BC_STRING,          /* movs, stos: a fast helper, else the emulator */
	BC_EMULATE,         /* everything else: one step of the emulator */
};

enum bt_encoding { BE_LEGACY, BE_VEX };

#define BT_NO_REG 0xff
#define BT_RIP 0xfe

struct bt_insn {
	uint64_t va;
	uint8_t bytes[15];
	uint8_t len;
	uint8_t cls;
	uint8_t encoding;
	uint8_t opsize;             /* bytes */
	uint8_t cc;                 /* BC_JCC: condition code */
	uint8_t modrm_off, op_off, pfx_len;  /* op_off: first byte after legacy prefixes and REX; VEX: of C4/C5 */
	uint8_t rex;                /* 0: none */
	uint8_t tail_off;           /* first byte behind ModRM, SIB and displacement */
	bool addr32, high_byte, needs_low;   /* high_byte: uses ah..bh; needs_low: no REX may be added */
	uint16_t rd, wr, wr_full;   /* general registers, by hardware number */
	uint16_t ea_regs;
	bool fl_use, fl_kill, fl_write;
	bool fl_part;               /* fl_use, but only in that it leaves some as they are: no use where none is live after */
	bool fpu;                   /* BC_VERBATIM, BC_MEM: #NM while CR0.TS is set */
	/* BC_MEM and other memory forms */
	bool mem_rd, mem_wr, locked;   /* locked: LOCK prefix, or xchg with memory */
	uint8_t seg;                /* 0, 4: fs, 5: gs */
	uint8_t base, index, scale; /* BT_NO_REG, BT_RIP */
	uint16_t mem_size;
	int64_t disp;               /* rip-relative: the absolute address */
	uint64_t target;            /* relative branches */
	uint64_t imm;               /* ret imm16, push imm (sign-extended) */
	uint8_t reg;                /* push/pop/jmp/call register */
};

/* Set up the decoder tables once per process. */
void bt_decode_init(void);

/*
 * Decode the instruction at bytes (n readable).  0; BT_DECODE_MORE: what is there begins one that may be valid; -1: it is not valid, whatever
 * follows.
 */
#define BT_DECODE_MORE 1
int bt_decode(struct bt_insn *in, uint64_t va, const uint8_t *bytes, size_t n);

#endif
