/* PVH entry: 32-bit protected mode, flat segments, paging off, interrupts off,
   ebx = physical address of hvm_start_info. Leaves for {entry} in long mode with memory
   below 4 GiB mapped at its own addresses, SSE on, and a stack.
   The CPU checks here are those without which no 64-bit Rust code can run. */

    .section .note.pvh, "a", @note
    .balign 4
    .long 4                         /* length of the name */
    .long 8                         /* length of the address */
    .long 18                        /* XEN_ELFNOTE_PHYS32_ENTRY */
    .asciz "Xen"
    .quad pvh_start

    .section .text.pvh_start, "ax"
    .code32
    .global pvh_start
pvh_start:
    cli
    cld
    mov esp, offset stack_end
    mov ebp, ebx

    /* CPUID is there if EFLAGS.ID (bit 21) can be changed. */
    pushfd
    pop eax
    mov ecx, eax
    xor eax, 1 << 21
    push eax
    popfd
    pushfd
    pop eax
    xor eax, ecx
    test eax, 1 << 21
    jz no_long_mode

    /* CPUID.80000001h:EDX[29] is long mode (SDM vol. 2, CPUID). */
    mov eax, 0x80000000
    cpuid
    cmp eax, 0x80000001
    jb no_long_mode
    mov eax, 0x80000001
    cpuid
    test edx, 1 << 29
    jz no_long_mode

    /* CPUID.1:EDX[24..26] are FXSR, SSE and SSE2. */
    mov eax, 1
    cpuid
    and edx, 7 << 24
    cmp edx, 7 << 24
    jne no_sse2

    /* SDM vol. 3, 11.8.5 "Initializing IA-32e Mode", with CR4.PAE, OSFXSR, OSXMMEXCPT,
       EFER.LME, and CR0.PG, WP, NE, MP; CR0.EM and TS off for SSE. */
    mov eax, cr4
    or eax, (1 << 5) | (1 << 9) | (1 << 10)
    mov cr4, eax
    mov eax, offset boot_pml4
    mov cr3, eax
    mov ecx, 0xc0000080
    rdmsr
    or eax, 1 << 8
    wrmsr
    mov eax, cr0
    and eax, ~((1 << 2) | (1 << 3))
    or eax, (1 << 31) | (1 << 16) | (1 << 5) | (1 << 1)
    mov cr0, eax

    lgdt [boot_gdt_pointer]
    push 8
    mov eax, offset long_mode
    push eax
    retf

no_long_mode:
    mov esi, offset no_long_mode_text
    jmp stop
no_sse2:
    mov esi, offset no_sse2_text

/* Prints the text at esi on COM1 (115200 baud, 8N1) and halts. */
stop:
    mov ecx, offset com1_setup
1:  movzx edx, byte ptr [ecx]
    mov al, byte ptr [ecx + 1]
    add edx, 0x3f8
    out dx, al
    add ecx, 2
    cmp ecx, offset com1_setup_end
    jne 1b
2:  mov ecx, 1000000                /* bounded: there may be no port at all */
    mov edx, 0x3fd
3:  in al, dx
    test al, 1 << 5                 /* LSR.THRE */
    jnz 4f
    dec ecx
    jnz 3b
4:  lodsb
    test al, al
    jz 5f
    mov edx, 0x3f8
    out dx, al
    jmp 2b
5:  hlt
    jmp 5b

    .code64
long_mode:
    mov eax, 16
    mov ds, eax
    mov es, eax
    mov ss, eax
    xor eax, eax
    mov fs, eax
    mov gs, eax
    mov edi, ebp
    xor ebp, ebp                    /* the end of any backtrace */
    call {entry}
    ud2

    .section .rodata.pvh, "a"
com1_setup:                         /* register, value */
    .byte 1, 0x00, 3, 0x80, 0, 1, 1, 0, 3, 0x03, 2, 0x07, 4, 0x03
com1_setup_end:
no_long_mode_text:
    .asciz "boot: this CPU is not a 64-bit one: use another one (QEMU: -cpu qemu64 or -cpu max); halted\r\n"
no_sse2_text:
    .asciz "boot: this CPU has no SSE2 with FXSR: use another one (QEMU: -cpu qemu64 or -cpu max); halted\r\n"

    /* Memory below 4 GiB at its own addresses, in pages of 2 MiB (present, writable). */
    .section .data.boot_tables, "aw"
    .balign 4096
    .global boot_pml4
boot_pml4:
    .quad boot_pdpt + 3
    .fill 511, 8, 0
boot_pdpt:
    .quad boot_pd + 0x0003
    .quad boot_pd + 0x1003
    .quad boot_pd + 0x2003
    .quad boot_pd + 0x3003
    .fill 508, 8, 0
boot_pd:
    .set page, 0
    .rept 2048
    .quad (page << 21) | 0x83
    .set page, page + 1
    .endr

    .section .bss.boot_stack, "aw", @nobits
    .balign 16
    .fill 160 * 1024, 1, 0          /* measured: 52 KiB, 115 KiB if not optimised */
stack_end:

    .text
