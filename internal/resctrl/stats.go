package resctrl

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Stats has runc's keys. What the CPU does not have is left out.
type Stats struct {
	L3CacheInfo       *L3CacheInfo `json:"l3_cache_info,omitempty"`
	L3CacheSchemaRoot string       `json:"l3_cache_schema_root,omitempty"`
	L3CacheSchema     string       `json:"l3_cache_schema,omitempty"`
	MemBwInfo         *MemBwInfo   `json:"mem_bw_info,omitempty"`
	MemBwSchemaRoot   string       `json:"mem_bw_schema_root,omitempty"`
	MemBwSchema       string       `json:"mem_bw_schema,omitempty"`
	MBM               []MBM        `json:"mbm_stats,omitempty"` // by domain
	CMT               []CMT        `json:"cmt_stats,omitempty"` // by domain
}

// L3CacheInfo is how the L3 cache can be divided.
type L3CacheInfo struct {
	CbmMask    string `json:"cbm_mask,omitempty"`
	MinCbmBits uint64 `json:"min_cbm_bits,omitempty"`
	NumClosids uint64 `json:"num_closids,omitempty"`
}

// MemBwInfo is how memory bandwidth can be limited.
type MemBwInfo struct {
	BandwidthGran uint64 `json:"bandwidth_gran,omitempty"`
	DelayLinear   uint64 `json:"delay_linear,omitempty"`
	MinBandwidth  uint64 `json:"min_bandwidth,omitempty"`
	NumClosids    uint64 `json:"num_closids,omitempty"`
}

// MBM is memory bandwidth monitoring, in bytes.
type MBM struct {
	TotalBytes uint64 `json:"mbm_total_bytes,omitempty"`
	LocalBytes uint64 `json:"mbm_local_bytes,omitempty"`
}

// CMT is cache monitoring, in bytes.
type CMT struct {
	LLCOccupancy uint64 `json:"llc_occupancy,omitempty"`
}

// ReadStats reads what the files of a container's groups tell.
func ReadStats(root, dir, monitor string) *Stats {
	s := new(Stats)
	l3, mb := filepath.Join(root, "info", "L3"), filepath.Join(root, "info", "MB")
	if isDir(l3) {
		s.L3CacheInfo = &L3CacheInfo{CbmMask: text(l3, "cbm_mask"), MinCbmBits: number(l3, "min_cbm_bits"), NumClosids: number(l3, "num_closids")}
		s.L3CacheSchemaRoot, s.L3CacheSchema = line(root, "L3:"), line(dir, "L3:")
	}
	if isDir(mb) {
		s.MemBwInfo = &MemBwInfo{BandwidthGran: number(mb, "bandwidth_gran"), DelayLinear: number(mb, "delay_linear"),
			MinBandwidth: number(mb, "min_bandwidth"), NumClosids: number(mb, "num_closids")}
		s.MemBwSchemaRoot, s.MemBwSchema = line(root, "MB:"), line(dir, "MB:")
	}
	if monitor != "" {
		dir = monitor
	}
	features := " " + strings.Join(strings.Fields(text(filepath.Join(root, "info", "L3_MON"), "mon_features")), " ") + " "
	domains, err := filepath.Glob(filepath.Join(dir, "mon_data", "mon_L3_*"))
	for _, d := range domains {
		if err == nil && strings.Contains(features, " mbm_") {
			s.MBM = append(s.MBM, MBM{TotalBytes: number(d, "mbm_total_bytes"), LocalBytes: number(d, "mbm_local_bytes")})
		}
		if err == nil && strings.Contains(features, " llc_occupancy ") {
			s.CMT = append(s.CMT, CMT{LLCOccupancy: number(d, "llc_occupancy")})
		}
	}
	return s
}

func isDir(dir string) bool {
	st, err := os.Stat(dir)
	return err == nil && st.IsDir()
}

// text is a file's content, "" if there is none: which there are depends on the
// CPU.
func text(dir, file string) string {
	data, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}

// number is 0 for "Unavailable", too.
func number(dir, file string) uint64 {
	n, err := strconv.ParseUint(text(dir, file), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// line is that of the file schemata which begins so.
func line(dir, prefix string) string {
	for l := range strings.Lines(text(dir, "schemata")) {
		if l = strings.TrimSpace(l); strings.HasPrefix(l, prefix) {
			return l
		}
	}
	return ""
}
