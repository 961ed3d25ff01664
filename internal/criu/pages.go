package criu

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"strings"
)

// What CRIU's images/pagemap.proto and its magic numbers say of pagemap-N.img: two
// numbers, then messages behind their lengths, of which the first names the file
// that the pages are in.
const (
	pagemapMagic = 0x56084025
	pagePresent  = 1 << 2 // PE_PRESENT: the page is in that file
)

// checkPages makes sure that each file of pages has all that is to be in it: a
// CRIU that reads beyond the end tries again for ever (3.17). Everything else that
// may be wrong with images CRIU finds itself.
func (d *Directory) checkPages() error {
	names, err := d.names()
	if err != nil {
		return err
	}
	need := map[string]int64{}
	for _, name := range names {
		if !strings.HasPrefix(name, "pagemap-") || !strings.HasSuffix(name, ".img") {
			continue
		}
		f, err := d.file(name)
		if err != nil {
			return err
		}
		id, pages, err := readPagemap(f)
		f.Close()
		if err != nil {
			return fmt.Errorf("%q is damaged: %w", d.path+"/"+name, err)
		}
		need[fmt.Sprintf("pages-%d.img", id)] += pages * int64(os.Getpagesize())
	}
	for name, size := range need {
		if size == 0 {
			continue
		}
		f, err := d.file(name)
		if err != nil {
			return err
		}
		st, err := f.Stat()
		f.Close()
		if err == nil && st.Size() < size {
			err = fmt.Errorf("%q is damaged: it has %d bytes, not %d", d.path+"/"+name, st.Size(), size)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// readPagemap gives the number of the file and of the pages in it.
func readPagemap(r io.Reader) (id int64, pages int64, err error) {
	var magic [8]byte
	if _, err := io.ReadFull(r, magic[:]); err != nil {
		return 0, 0, err
	}
	if binary.LittleEndian.Uint32(magic[4:]) != pagemapMagic {
		return 0, 0, errDamaged
	}
	for first := true; ; first = false {
		message, err := readEntry(r)
		if err == io.EOF {
			return id, pages, nil
		}
		if err != nil {
			return 0, 0, err
		}
		var n, flags int64
		err = fields(message, func(field int, v int64, _ []byte) error {
			switch {
			case first && field == 1:
				id = v
			case field == 2:
				n = v
			case field == 4:
				flags = v
			}
			return nil
		})
		if err != nil {
			return 0, 0, err
		}
		if flags&pagePresent != 0 {
			pages += n & (1<<32 - 1)
		}
	}
}

// readEntry reads a message behind its length. None of a page map is long.
func readEntry(r io.Reader) ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	n := binary.LittleEndian.Uint32(size[:])
	if n > 4096 {
		return nil, errDamaged
	}
	message := make([]byte, n)
	if _, err := io.ReadFull(r, message); err != nil {
		return nil, io.ErrUnexpectedEOF
	}
	return message, nil
}
