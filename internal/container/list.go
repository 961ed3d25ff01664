package container

import (
	"errors"
	"fmt"

	"tongs/internal/state"
)

// List tells about all containers of the store, sorted by name. One that cannot
// be read is left out, and warn is told why; one that is deleted meanwhile is
// left out in silence.
func List(store *state.Store, warn func(string)) ([]*Info, error) {
	ids, err := store.List()
	if err != nil {
		return nil, err
	}
	var infos []*Info
	for _, id := range ids {
		info, err := Query(store, id)
		if errors.Is(err, state.ErrNotExist) {
			continue
		}
		if err != nil {
			warn(fmt.Sprintf("container %q: %v", id, err))
			continue
		}
		infos = append(infos, info)
	}
	return infos, nil
}
